"""Optuna's evaluators, with intervals and shuffles of our own around them.

PED-ANOVA (Watanabe, Bansal and Hutter 2023): how far the values of the best tenth are from those of all trials.
fANOVA (Hutter, Hoos and Leyton-Brown 2014): how a random forest's prediction varies with one param.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from caviar.analysis.importance.anova import Effects, effects
from caviar.analysis.importance.columns import MIN_TRIALS, Column, groups_for
from caviar.errors import CaviarError
from caviar.messages import Floats, Ints

BEST = 0.1
"""The share of the trials that PED-ANOVA counts as the best: Optuna's default."""

DRAWS = {"ped-anova": 20, "fanova": 10}
"""So many shuffles and so many half samples."""

TREES = 8

Target = Callable[[Any], float]


def one_by_one(columns: Sequence[Column], score: Floats, *, method: str, rng: np.random.Generator) -> Effects:
    """The share of each param: of what single params do for reaching the best tenth (they add up to 1, chance
    taken off), or of the variance of a forest's prediction.

    The interval is that of half samples without replacement, whose spread is that of the whole (Politis and Romano
    1994); a bootstrap's doubled trials would teach a forest to remember them. Raises `CaviarError` without Optuna.
    """
    with _quiet():
        try:
            import optuna

            evaluator = _evaluator(method, int(rng.integers(2**31)))
        except ImportError:
            raise CaviarError(
                f"importance by {method} needs optuna and scikit-learn: pip install 'caviar-sweep[importance]'"
            ) from None
        unknown = np.full(DRAWS[method], np.nan)
        found = {column.name: (np.nan, unknown, unknown) for column in columns}
        for population in {column.rows.tobytes(): column.rows for column in columns}.values():
            if len(population) < MIN_TRIALS:
                continue
            mine = [each for each in columns if np.isin(population, each.rows).all()]
            study = _study(mine, population)
            evaluate = _Evaluate(optuna, study, evaluator, [column.name for column in mine], method)
            once, shuffled, halves = evaluate.all(score[population], DRAWS[method], rng)
            for place, column in enumerate(mine):
                if np.array_equal(column.rows, population):
                    found[column.name] = once[place], shuffled[:, place], halves[:, place]
    return effects([found[column.name] for column in columns])


def _evaluator(method: str, seed: int) -> Any:
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator

    if method == "fanova":
        return FanovaImportanceEvaluator(n_trees=TREES, seed=seed)
    return PedAnovaImportanceEvaluator(target_quantile=BEST)


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna logs each study that is made, and warns of what is done here on purpose."""
    try:
        from optuna import logging
    except ImportError:
        yield
        return
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)


def _study(columns: Sequence[Column], population: Ints) -> Any:
    """A study in memory with the trials of a population; numbers by rank, so that the sampled density is even."""
    import optuna
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    few = groups_for(len(population))
    kinds: dict[str, Any] = {}
    values: dict[str, list[Any]] = {}
    for column in columns:
        here = np.searchsorted(column.rows, population)
        if column.ordered and len(column.values) > few:
            kinds[column.name] = FloatDistribution(0.0, 1.0)
            values[column.name] = column.unit()[here].tolist()
        else:
            kinds[column.name] = CategoricalDistribution(list(range(len(column.values))))
            values[column.name] = column.code[here].tolist()
    study = optuna.create_study()
    rows = zip(*values.values(), strict=True)
    study.add_trials(
        [
            optuna.trial.create_trial(params=dict(zip(values, row, strict=True)), distributions=kinds, value=0.0)
            for row in rows
        ]
    )
    return study


class _Evaluate:
    def __init__(self, optuna: Any, study: Any, evaluator: Any, names: list[str], method: str) -> None:
        self._optuna, self._study, self._evaluator = optuna, study, evaluator
        self._names, self._method = names, method

    def all(self, score: Floats, draws: int, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
        """The shares, those of shuffled scores, and those of half samples."""
        count = len(score)
        shuffled = np.array([self.shares(rng.permutation(score)) for _ in range(draws)])
        halves = np.full((draws, count), np.inf)  # Optuna leaves out what is not finite
        for half in halves:
            kept = rng.choice(count, (count + 1) // 2, replace=False)
            half[kept] = score[kept]
        once, parts = self.shares(score), np.array([self.shares(half) for half in halves])
        if self._method == "fanova":
            return once, shuffled, parts
        # chance alone sets the best apart by so much; the rest is shared out among the params
        chance = shuffled.mean(axis=0)
        whole = max(np.maximum(once - chance, 0).sum(), np.finfo(np.float64).tiny)
        return (once - chance) / whole, (shuffled - chance) / whole, (parts - chance) / whole

    def shares(self, score: Floats) -> Floats:
        """The share of each param, in the order of the names."""
        finite = score[np.isfinite(score)]
        if finite.min(initial=0) == finite.max(initial=0):
            return np.zeros(len(self._names))
        found = self._optuna.importance.get_param_importances(
            self._study,
            evaluator=self._evaluator,
            params=self._names,
            target=lambda trial: float(score[trial.number]),
            normalize=False,
        )
        return np.array([float(found[name]) for name in self._names])
