"""The command line: parse, call, print. Nothing here imports more than click before a command runs.

```
app.py         the group of commands, errors and exit statuses
load_file.py   FILE[:NAME] -> the Sweep that it defines
run.py         run
resume.py      resume, extend
plan.py        run --plan
conduct.py     what those have in common: executor, display, summary
watch.py       status, watch
tables.py      trials, best, curves
importance.py  importance
export.py      export
report.py      report
what_if.py     what-if
events.py      events
in_words.py    an event in words
steer.py       set, pause, unpause, rollback, stop
settings.py    lr=0.01 -> what it asks for
scheduler_text.py   asha:grace_steps=2 -> a scheduler
panda.py       panda, replay
recheck.py     recheck
check.py       check
jobs.py        jobs, logs, cancel
afar.py        --address: the same command line, carried out on a cluster
answering.py   the far end of that
pictures.py    a live view that is drawn there, and shown here
ask.py         a command to a running sweep, and its answer
follow.py      a sweep folder -> what to show, again and again
live.py        what to show on a terminal
lines.py       the same as plain lines, and as JSON
live_run.py    what to show of a live run on a terminal
run_lines.py   the same as plain lines, and as JSON
chart.py       a curve drawn with characters; canvas.py has the dots, ticks.py the axes
table.py       a table on a terminal, in a pipe, as CSV, as JSON
costs.py       cost and time budget in words
figures.py     numbers, durations and sparklines as people read them
```
"""

from caviar.cli.app import main

__all__ = ["main"]
