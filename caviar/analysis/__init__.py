"""What a sweep folder says: the store's two tables made into pandas, a live view and a page.

```
reports.py      metrics table -> sorted numpy columns, main lines
trials.py       events table -> one row a trial
frames.py       both -> pandas
result.py       Result, and load(path)
savings.py      what early stopping saved
progress.py     the live view: a fold with bounded memory over curve.py, rates.py and notes.py
live_run.py     the same of a live run, over envelope.py, pace.py and acts.py
branches.py     the attempts of a trial that was rolled back, as a tree
importance/     which params mattered
export/         the same in files of other tools: CSV, TensorBoard
retest.py       the statistics of a recheck
then_and_now.py a sweep and its recheck -> rechecked.py, what it found -> recheck_words.py, in words
page.py         the HTML page; page.html is its template
```
"""
