"""One HTML page about a sweep: it carries all that it shows, and loads nothing from anywhere."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Collection, Iterable, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from caviar.errors import CaviarError
from caviar.messages import Floats, Ints
from caviar.space import Choice, Float, Int
from caviar.trial import Params

if TYPE_CHECKING:
    import pandas as pd

    from caviar.analysis.result import Result

MAX_TRIALS = 2_000
"""With more trials than this the page draws the best of them, and of the others every so-and-so-manieth."""

BEST_DRAWN = 200
"""How many of the best are drawn in any case."""

MAX_POINTS = 60_000
"""Points of all learning curves together; longer ones are thinned out."""

FEW = 12
"""Up to so many whole numbers are told apart on an axis, and dots are spread around each."""


def write_page(result: Result, path: str | Path) -> Path:
    """Write the page of a result as one self-contained HTML file, and return where it lies.

    Raises `CaviarError` if plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise CaviarError("the HTML page needs plotly: pip install 'caviar-sweep[report]'") from None
    best = result.top(10)
    template = Template(resources.files("caviar.analysis").joinpath("page.html").read_text("utf-8"))
    text = template.substitute(
        title=html.escape(str(result.declaration.get("name") or result.path.name)),
        subtitle=html.escape(_subtitle(result)),
        tiles="\n".join(_tiles(result)),
        table=_table(best, result.metric),
        plotly=get_plotlyjs(),
        data=_script_json(page_data(result)),
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def page_data(result: Result) -> dict[str, Any]:
    """What the page draws, as JSON."""
    everything = result.trials()
    best = result.top(len(everything))
    shown = _shown(everything.index.to_numpy(), best.index.to_numpy())
    curves = result.curves(
        tidy=True
    )  # tidy: a value reported as NaN is a gap, a report without the metric is none
    curves = curves[curves["metric"] == result.metric]
    columns = (curves[name].to_numpy() for name in ("trial", "step", "value"))
    curve_of = _thinned(*columns, shown=shown)
    axes = list(_axes(result))
    ranges = {axis["name"] for axis in axes if axis["scale"] != "choice"}
    names = result.params
    places = np.searchsorted(everything.index.to_numpy(), shown)
    values = best["value"].reindex(shown).to_numpy()
    trials = [
        {
            "trial": trial,
            "status": everything["status"].iat[place],
            "best": _number(value),
            "params": _texts(result.params_of(trial), names, ranges),
            "x": curve_of[trial][0].tolist() if trial in curve_of else [],
            "y": [_number(y) for y in curve_of[trial][1]] if trial in curve_of else [],
        }
        for trial, place, value in zip(shown.tolist(), places.tolist(), values.tolist(), strict=True)
    ]
    return {
        "metric": result.metric,
        "maximize": result.maximize,
        "trials": trials,
        "of": len(everything),
        "best": int(best.index[0]) if len(best) else None,
        "params": names,
        "axes": [{**axis, "index": names.index(axis["name"])} for axis in axes],
    }


def _axes(result: Result) -> Iterable[dict[str, Any]]:
    """Each param of the space that varies, with the scale to draw it on."""
    for name, parameter in result.space.items():
        if isinstance(parameter, Choice):
            yield {"name": name, "scale": "choice", "values": [str(value) for value in parameter.values]}
        elif isinstance(parameter, Float | Int):
            few = (
                isinstance(parameter, Int) and parameter.scale == "linear" and parameter.high - parameter.low < FEW
            )
            yield {"name": name, "scale": parameter.scale, "few": few}


def _texts(params: Params, names: Sequence[str], ranges: Collection[str]) -> list[float | str | None]:
    """Values by the place of their param: numbers where it is a range, else text; None where it is absent."""
    return [
        None if name not in params else params[name] if name in ranges else str(params[name]) for name in names
    ]


def _shown(trials: Ints, best: Ints) -> Ints:
    """The trials to draw: all of them if they are not too many."""
    if len(trials) <= MAX_TRIALS:
        return trials
    first = best[:BEST_DRAWN]
    others = np.setdiff1d(trials, first)
    return np.sort(np.concatenate([first, others[:: math.ceil(len(others) / (MAX_TRIALS - len(first)))]]))


def _thinned(trial: Ints, step: Ints, value: Floats, *, shown: Ints) -> dict[int, tuple[Ints, Floats]]:
    """The curves of these trials, none with more points than its share; first and last always stay."""
    share = max(MAX_POINTS // max(len(shown), 1), 10)
    curve_of: dict[int, tuple[Ints, Floats]] = {}
    low, high = np.searchsorted(trial, shown), np.searchsorted(trial, shown, side="right")
    for number, start, stop in zip(shown.tolist(), low.tolist(), high.tolist(), strict=True):
        if stop > start:
            rows = np.unique(np.linspace(start, stop - 1, min(share, stop - start)).round().astype(np.int64))
            curve_of[number] = step[rows], value[rows]
    return curve_of


def _subtitle(result: Result) -> str:
    goal = "more is better" if result.maximize else "less is better"
    return f"{result.metric}, {goal} · {result.status}"


def _tiles(result: Result) -> Iterable[str]:
    """The headline numbers."""
    try:
        best = result.best
        yield _tile(f"Best {result.metric}", f"{best.value:.5g}", f"trial {best.trial}, step {best.step}")
    except CaviarError:
        yield _tile(f"Best {result.metric}", "none", "nothing finite reported yet")
    counts = result.counts()
    states = ", ".join(f"{count:,} {state}" for state, count in counts.items())
    yield _tile("Trials", f"{sum(counts.values()):,}", states)
    saved = result.savings()
    told = f"instead of {saved.steps_without:,} without early stopping" if saved.trials_stopped else "none saved"
    yield _tile("Steps trained", f"{saved.steps:,}", told)
    yield _tile(
        "Saved by stopping early", f"{saved.fraction:.0%}", f"{saved.trials_stopped:,} trials were stopped"
    )
    yield _tile("Wall time", _duration(result.elapsed_s()), result.status)


def _tile(label: str, value: str, note: str) -> str:
    parts = (html.escape(text) for text in (label, value, note))
    return "<div class=tile><dt>{}</dt><dd>{}</dd><p>{}</p></div>".format(*parts)


def _table(best: pd.DataFrame, metric: str) -> str:
    """The best trials as HTML."""
    names = [str(name) for name in best.columns]
    heads = ["trial", metric, *(name.removeprefix("params.") for name in names[1:])]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
    rows = []
    for trial, row in zip(best.index, best.itertuples(index=False), strict=True):
        cells = [f'<td class="num">{trial}</td>', *(_cell(n, v) for n, v in zip(names, row, strict=True))]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _cell(name: str, value: Any) -> str:
    value = _plain(value)
    if name == "status":
        return f'<td><i class="dot {value}"></i>{value}</td>'
    if isinstance(value, str):
        return f"<td>{html.escape(value)}</td>"
    return f'<td class="num">{"" if value is None else f"{value:.5g}" if isinstance(value, float) else value}</td>'


def _plain(value: Any) -> bool | int | float | str | None:
    """A cell of a frame as JSON holds it: missing is None."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float):
        return _number(value)
    return value if isinstance(value, bool | int) else str(value)


def _number(value: float) -> float | None:
    """Six digits of a finite value: more than a page can show."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _script_json(data: Any) -> str:
    """JSON that is safe within a script element, whatever names and params hold."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
