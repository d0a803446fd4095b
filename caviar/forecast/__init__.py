"""What a sweep will train, take and cost, told before it runs.

```
measuring.py   some of its trials, trained for a few steps
timings.py     how long steps take, by what was measured or by a record
estimate.py    how many steps, how much time and money: a figure and a range
staged.py      how much time where stages wait for each other
forecast.py    all of it together
```
"""

MEASURE_S = 30.0
"""For so long trials are tried, where nothing else is asked for."""
