"""What a sweep will train, take and cost, told before it runs.

```
measuring.py   the first trials, trained for a few steps
timings.py     how long steps take, by what was measured or by a record
places.py      how many trials fit side by side
estimate.py    how many steps, how much time and money: a figure and a range
forecast.py    all of it together
```
"""
