"""The best setting, ready to be used, and the ten best to compare it with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from caviar.analysis.report.markup import Html, code, count, join, number, paragraph, python_dict, table
from caviar.analysis.report.section import Section
from caviar.errors import CaviarError

if TYPE_CHECKING:
    from caviar.analysis.result import Result

TOP = 10
MAX_COLUMNS = 24
"""So many params at most have a column among the ten best."""


def best_setting(result: Result) -> Section:
    """The section."""
    try:
        best = result.best
    except CaviarError:
        return Section("The best setting", paragraph(_why_none(result)), "best")
    others = {name: value for name, value in best.metrics.items() if name != result.metric}
    also = ", ".join(f"{name} {number(value)}" for name, value in list(others.items())[:6])
    of = f" of {max_step:,}" if (max_step := result.declaration.get("max_step")) else ""
    said = f"`{result.metric}` {number(best.value)}: trial {best.trial}, step {best.step:,}{of}"
    said += f" ({also})." if also else "."
    parts = [paragraph(said, "lead")]
    parts.append(code(python_dict(best.params)) if best.params else paragraph("Its space has no params."))
    return Section("The best setting", join([*parts, _top(result)]), "best")


def _why_none(result: Result) -> str:
    counts = result.counts()
    if not counts:
        return "No trial has been sampled yet."
    silent = not len(result._main_line.of_metric(result.metric))
    if silent:
        return f"None yet: no trial has reported `{result.metric}`."
    return f"None: every value of `{result.metric}` that was reported is NaN or infinite."


def _top(result: Result) -> Html:
    top = result.top(TOP)
    if len(top) < 2:
        return Html("")
    names = [str(name) for name in top.columns if str(name).startswith("params.")]
    varying = [name for name in names if top[name].astype(str).nunique() > 1 or _varies(result, name)]
    drawn = varying[:MAX_COLUMNS]
    heads = ["trial", result.metric, "step", "state", *(name.removeprefix("params.") for name in drawn)]
    columns = [top.index.tolist(), *(top[name].tolist() for name in ("value", "step", "status", *drawn))]
    rows = [[_plain(value) for value in row] for row in zip(*columns, strict=True)]
    left = len(varying) - len(drawn)
    said = f"The {count(len(top), 'best trial')}, each by its best value. Press a heading to sort."
    if left:
        said += f" {count(left, 'more param')} left out."
    return join([paragraph(said, "soft"), table(heads, rows, sortable=True)])


def _varies(result: Result, column: str) -> bool:
    parameter = result.space.get(column.removeprefix("params."))
    return parameter is not None and not hasattr(parameter, "value")


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value
