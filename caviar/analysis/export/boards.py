"""A sweep as runs of TensorBoard: a folder a trial, with its scalars, and its params for the HParams page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from caviar.analysis.export.source import Source, text
from caviar.analysis.trials import NO_TIME
from caviar.errors import CaviarError
from caviar.messages import Ints
from caviar.trial import TrialState

try:
    from tensorboard.plugins.hparams import api_pb2
    from tensorboard.plugins.hparams import summary_v2 as api  # `api` itself wants all of TensorFlow

    from caviar.analysis.export.event_file import EventFile, event_file
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "tensorboard":
        raise
    raise CaviarError("this export needs TensorBoard: pip install 'caviar-sweep[tensorboard]'") from None

FEW_VALUES = 10
"""A param with no more values than this is a list to tick off; one with more numbers, a range."""

_STATUS = {
    TrialState.COMPLETED.value: api_pb2.STATUS_SUCCESS,
    TrialState.STOPPED.value: api_pb2.STATUS_SUCCESS,
    TrialState.FAILED.value: api_pb2.STATUS_FAILURE,
    TrialState.RUNNING.value: api_pb2.STATUS_RUNNING,
    TrialState.PAUSED.value: api_pb2.STATUS_RUNNING,
}


def check(source: Source, tidy: bool) -> None:
    """Raise `CaviarError` if no trial has begun."""
    if not len(_begun(source)):
        raise CaviarError(f"{source.path}: no trial has begun yet, so there is no run for TensorBoard")


def write(source: Source, folder: Path, *, tidy: bool) -> None:
    """Write a run for each trial that has begun, and the experiment that they belong to."""
    trials, begun = source.columns, _begun(source)
    tags = [text(name) for name in source.names]
    best_tag = _other_than(tags, f"best/{text(source.metric)}")
    names = dict.fromkeys(name for row in begun.tolist() for name in trials.params[row])
    values = {
        name: [params[name] for row in begun.tolist() if name in (params := trials.params[row])] for name in names
    }
    as_text = {name for name in names if len({_kind(value) for value in values[name]}) > 1}

    start_s = float(trials.start_us[begun].min()) / 1e6
    with event_file(folder, start_s=start_s) as file:
        config = api.hparams_config_pb(
            [api.HParam(text(name), domain=_domain(values[name], name in as_text)) for name in names],
            [api.Metric(tag) for tag in (best_tag, *tags)],
            time_created_secs=start_s,
        )
        file.add_summary(config, time_s=start_s)
    width = len(str(int(trials.trial[-1])))
    for row in begun.tolist():
        params = {key: text(value) if key in as_text else value for key, value in trials.params[row].items()}
        _write_trial(source, row, params, folder / f"trial-{int(trials.trial[row]):0{width}d}", (tags, best_tag))


def _write_trial(
    source: Source, row: int, params: Mapping[str, Any], folder: Path, tags: tuple[list[str], str]
) -> None:
    trials = source.columns
    start_s = float(trials.start_us[row]) / 1e6
    hparams = {
        text(name): text(value) if isinstance(value, str) or value is None else value
        for name, value in params.items()
    }
    with event_file(folder, start_s=start_s) as file:
        start = api.hparams_pb(hparams, trial_id=folder.name, start_time_secs=start_s)
        file.add_summary(start, time_s=start_s)
        _add_reports(file, source, int(trials.trial[row]), tags)
        status = _STATUS.get(trials.status[row])
        if status is not None:
            ended = bool(trials.end_us[row] != NO_TIME)
            file.add_status(status, time_s=float(trials.end_us[row]) / 1e6 if ended else start_s, ended=ended)


def _add_reports(file: EventFile, source: Source, trial: int, tags: tuple[list[str], str]) -> None:
    """An event a report, and one for the best value, which the HParams page shows where it would show the last."""
    names, best_tag = tags
    low, high = (int(np.searchsorted(source.reports.trial, trial, side)) for side in ("left", "right"))
    reports = source.reports.take(slice(low, high))  # type: ignore[arg-type]
    first = np.flatnonzero(reports.report_starts())
    values, codes = _single(reports.value), reports.code.tolist()
    for begin, end, step, time_us in zip(
        first.tolist(),
        [*first[1:].tolist(), len(reports)],
        reports.step[first].tolist(),
        reports.time_us[first].tolist(),
        strict=False,
    ):
        here = [names[code] for code in codes[begin:end]]
        file.add_scalars(here, values[begin:end], step=step, time_s=time_us / 1e6)
    at = int(np.searchsorted(source.best.trial, trial))
    if at < len(source.best) and source.best.trial[at] == trial:
        step, time_us = int(source.best.step[at]), int(source.best.time_us[at])
        file.add_scalars([best_tag], _single(source.best.value[at : at + 1]), step=step, time_s=time_us / 1e6)


def _begun(source: Source) -> Ints:
    """The rows of trials that have begun."""
    rows: Ints = np.flatnonzero(np.isin(source.columns.trial, source.trial) & (source.columns.start_us != NO_TIME))
    return rows


def _other_than(taken: Iterable[str], name: str) -> str:
    while name in taken:
        name += "'"
    return name


def _single(values: Any) -> list[float]:
    """As 32 bits hold them; what is beyond their range is infinite."""
    with np.errstate(over="ignore"):
        rounded: list[float] = values.astype(np.float32).tolist()
    return rounded


def _kind(value: Any) -> type:
    return bool if isinstance(value, bool) else float if isinstance(value, int | float) else str


def _domain(values: list[Any], as_text: bool) -> Any:
    """What a filter on this param offers: what there is of it, not what might have been."""
    if as_text or _kind(values[0]) is str:
        return api.Discrete(sorted({text(value) for value in values}))
    if isinstance(values[0], bool):
        return api.Discrete([False, True])
    found = sorted({float(value) for value in values})
    if len(found) > FEW_VALUES:
        return api.RealInterval(found[0], found[-1])
    return api.Discrete(found)
