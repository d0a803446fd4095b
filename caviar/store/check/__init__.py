"""Verifying a sweep folder, and bringing a damaged one back into use.

```
findings.py   what is found, and how bad it is
files.py      commits and parts: which are whole, and which commits no file holds any more
rows.py       the rows of both tables: doubled, missing, impossible
around.py     what lies beside the tables: checkpoints, commands, logs, leftovers, foreign files, the lease
look.py       all of it together, also while the sweep runs
repair.py     damaged files aside, and something in their place
```
"""
