"""Which hyperparameters mattered, how sure that is, and in words.

```
record.py      Importance, what is found
asked.py       a result -> the trials asked for -> the record
columns.py     one param over the trials that have it, in groups
anova.py       shares of the variance, with bootstrap and shuffles: the method by default
evaluators.py  Optuna's PED-ANOVA and fANOVA, with the same
words.py       the summary
```
"""

from caviar.analysis.importance.asked import importance
from caviar.analysis.importance.record import Importance, Method

__all__ = ["Importance", "Method", "importance"]
