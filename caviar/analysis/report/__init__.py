"""The report of a sweep: one HTML file that carries all that it shows, and loads nothing from anywhere.

```
document.py    puts the sections together and writes the file; page.html, page.css, page.js are its frame
section.py     what a section is
markup.py      numbers, tables and JSON as HTML, safe from whatever names and params hold
masthead.py    what it is a picture of, and how the sweep stands
best.py        the best setting, and the ten best
mattered.py    which params mattered, in plain words
advice.py      what to do next, from the rules of trouble.py and outlook.py
gallery.py     the figures, each with a sentence on how to read it
declared.py    what was declared
failures.py    what failed, by error
chronicle.py   what happened
live.py        the same for a live run; live_curve.py has its curve
```
"""

from caviar.analysis.report.document import write_report

__all__ = ["write_report"]
