"""From a result to the importance of its params."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, get_args

import numpy as np
from scipy.stats import rankdata

from caviar.analysis import by_hand
from caviar.analysis.importance.anova import Effects, Pair, one_by_one, pairs_of
from caviar.analysis.importance.columns import MIN_TRIALS, Column, columns_of
from caviar.analysis.importance.record import LITTLE, NEGLIGIBLE, Importance, Method
from caviar.errors import CaviarError, UsageError
from caviar.messages import Floats
from caviar.space import Space

if TYPE_CHECKING:
    import pandas as pd

    from caviar.analysis.evidence import Evidence
    from caviar.analysis.result import Result

MOST_TRIALS = {"anova": 20_000, "ped-anova": 1_000, "fanova": 150}
"""Of more trials so many are drawn at random. fANOVA's time grows faster than with their square: 1,000 trials and
16 trees take Optuna 15 s, once."""


def importance(result: Result, stage: int | None, *, method: Method, seed: int) -> Importance:
    """See `caviar.analysis.result.Result.importance`."""
    if method not in get_args(Method):
        raise UsageError(f"importance(method={method!r}): must be {' or '.join(map(repr, get_args(Method)))}")
    evidence = result.evidence
    _check_enough(result, len(evidence), "so far")
    stages, counts = np.unique(evidence.stage, return_counts=True)
    if stage is None:
        enough = stages[counts >= MIN_TRIALS].tolist() or stages[[counts.argmax()]].tolist()
        asked = [enough[0], enough[-1]] if len(enough) > 1 else enough
    elif stage in stages:
        asked = [stage]
    else:
        raise UsageError(f"importance(stage={stage!r}): trials have reported in {_listed(stages.tolist())}")
    later: Importance | None = None
    if len(asked) > 1:
        with suppress(CaviarError):  # what the first stage says is worth telling all the same
            later = _of_stage(result, evidence, asked[-1], method=method, seed=seed)
    return _of_stage(result, evidence, asked[0], method=method, seed=seed, later=later)


def _check_enough(result: Result, count: int, where: str, others: str = "") -> None:
    if count < MIN_TRIALS:
        raise by_hand.too_little(
            result,
            f"trials that have reported {result.metric!r} {where}: {count}; to tell which params mattered takes "
            f"{MIN_TRIALS}{others}",
        )


def _others(enough: list[int]) -> str:
    """Where to look instead of a stage with too few trials."""
    if not enough:
        return ", and no stage has so many"
    return f"; {_listed(enough)} {'have' if len(enough) > 1 else 'has'} enough: --stage {enough[0]}"


def _listed(stages: list[int]) -> str:
    return f"stage{'s' if len(stages) > 1 else ''} {', '.join(map(str, stages))}"


def _of_stage(
    result: Result, evidence: Evidence, stage: int, *, method: Method, seed: int, later: Importance | None = None
) -> Importance:
    stages, counts = np.unique(evidence.stage, return_counts=True)
    others = _others(stages[counts >= MIN_TRIALS].tolist()) if len(stages) > 1 else ""
    evidence = evidence.take(np.flatnonzero(evidence.stage == stage))
    count = len(evidence)
    _check_enough(result, count, f"in stage {stage}", others)
    columns = columns_of(evidence.params, result.params)
    if not columns:
        raise CaviarError(f"{result.path}: no param varied in these {count} trials, so none can have mattered")
    if not np.isfinite(evidence.loss).any():
        raise CaviarError(
            f"{result.path}: all {count} trials failed, or diverged (no finite {result.metric!r}), so all did "
            "equally badly and no param mattered"
        )
    score = rankdata(np.round(evidence.score, 12)) / count
    if score.min() == score.max():
        raise CaviarError(f"{result.path}: all {count} trials did equally well, so no param mattered")
    rng = np.random.default_rng(seed)
    method = "anova" if method == "auto" else method
    columns, score = _limited(columns, score, MOST_TRIALS[method], rng)
    alone, rest = one_by_one(columns, score, rng)
    if method != "anova":
        from caviar.analysis.importance import evaluators

        alone = evaluators.one_by_one(columns, score, method=method, rng=rng)
    pairs = _pairs_frame(*pairs_of(columns, score, rest, rng))
    return Importance(
        params=_params_frame(columns, alone, pairs, result.space, len(score)),
        pairs=pairs,
        method=method,
        trials=len(score),
        stage=stage,
        metric=result.metric,
        later=later,
    )


def _limited(
    columns: list[Column], score: Floats, most: int, rng: np.random.Generator
) -> tuple[list[Column], Floats]:
    if len(score) <= most:
        return columns, score
    kept = np.sort(rng.choice(len(score), most, replace=False))
    among = [column.among(kept) for column in columns]
    return [column for column in among if len(column.values) > 1], score[kept]


def _verdicts(found: Effects, least: float = 0.0) -> list[str]:
    rows = zip(found.share, found.low, found.high, found.noise, strict=True)
    return [_verdict(share, low, high, noise, least) for share, low, high, noise in rows]


def _verdict(share: float, low: float, high: float, noise: float, least: float) -> str:
    """What is above chance both by the shuffles and by the resamples matters. What stays below a share that would
    be little, where as little could have been seen, does not; NaN compares as neither."""
    if share > max(noise, least) and low > 0:
        return "matters"
    return "does not matter" if max(high, noise) <= NEGLIGIBLE else "cannot be told"


def _pairs_frame(pairs: list[Pair], found: Effects) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame(
        {
            "first": pd.Series([pair.first for pair in pairs], dtype=object),
            "second": pd.Series([pair.second for pair in pairs], dtype=object),
            "importance": found.share,
            "low": found.low,
            "high": found.high,
            "trials": np.array([pair.trials for pair in pairs], np.int64),
            "noise": found.noise,
            "verdict": pd.Series(_verdicts(found, LITTLE), dtype=object),
        }
    )
    return frame.sort_values("importance", ascending=False, kind="stable", ignore_index=True)


def _params_frame(
    columns: list[Column], found: Effects, pairs: pd.DataFrame, space: Space, count: int
) -> pd.DataFrame:
    import pandas as pd

    telling = pairs[pairs["verdict"] == "matters"]
    together = {*telling["first"], *telling["second"]}
    verdicts = [
        "only together" if column.name in together and verdict != "matters" else verdict
        for column, verdict in zip(columns, _verdicts(found), strict=True)
    ]
    frame = pd.DataFrame(
        {
            "importance": found.share,
            "low": found.low,
            "high": found.high,
            "trials": [len(column.rows) for column in columns],
            "noise": found.noise,
            "verdict": pd.Series(verdicts, dtype=object),
            "values": pd.Series([column.shown() for column in columns], dtype=object),
            "where": pd.Series([_where(column, space, count) for column in columns], dtype=object),
        }
    )
    frame.index = pd.Index([column.name for column in columns], name="param", dtype=object)
    return frame.sort_values("importance", ascending=False, kind="stable")


def _where(column: Column, space: Space, count: int) -> str:
    """The condition under which a param exists: empty where all trials have it."""
    if len(column.rows) == count:
        return ""
    when = getattr(space.get(column.name), "when", None)
    if not when:
        return f"in {len(column.rows)} of {count} trials"
    return " and ".join(
        f"{name}={' or '.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name, value in when.items()
    )
