"""What bench_panda_vs_caviar.py found, as tables and as a picture.

    python benchmarks/contrast.py benchmarks/results/panda_vs_caviar.json --html contrast.html --png contrast.png

The picture is drawn by plotly, and the PNG taken by a Chromium in the path.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from machine import print_table
from tasks import TASKS, Task

if TYPE_CHECKING:
    import plotly.graph_objects as go

Run = dict[str, Any]

INK, SOFT, LINE = "#1b1f24", "#636c76", "#dfe3e8"
SIZE = (1400, 1040)
LINES = {
    "caviar, ASHA": ("caviar", "ASHA", "", "#2563c9"),
    "caviar, ASHA, then one run": ("caviar", "ASHA, then one run", "", "#1a9a6c"),
    "one run, usual setting, fixed": ("fixed", "fixed", "usual", "#636c76"),
    "one run, usual setting, rules": ("panda", "rules", "usual", "#b58a2a"),
    "one run, usual setting, bold": ("panda", "bold", "usual", "#d6409f"),
}
"""In the upper row: mode, how, start, colour."""

HANDS = {
    "fixed": "#636c76",
    "rules": "#b58a2a",
    "patient": "#d1743a",
    "bold": "#d6409f",
    "bold, patient": "#7c4dbd",
}
"""In the lower row."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("json", type=Path, help="what the benchmark wrote")
    parser.add_argument("--html", type=Path, help="write the picture as a page")
    parser.add_argument("--png", type=Path, help="write the picture as an image")
    arguments = parser.parse_args()
    found = json.loads(arguments.json.read_text())
    print_results(found["runs"])
    if arguments.html or arguments.png:
        draw(found["runs"], html=arguments.html, png=arguments.png)


# --- what a run came to ------------------------------------------------------------------------------------


def best_at(run: Run, cost: int) -> float:
    """Its best loss once so many epochs were trained; infinite where no network had a loss."""
    found: float = next((loss for at, loss in reversed(run["best"]) if at <= cost), math.inf)
    return found


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The lower quartile, the median, the upper one. Some may be infinite: those of an even number of values are
    between two of them only where both are finite."""
    ordered = np.sort(values)
    found = []
    for part in (0.25, 0.5, 0.75):
        place = part * (len(ordered) - 1)
        below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
        share = place - math.floor(place)
        found.append(float(below + share * (above - below)) if np.isfinite([below, above]).all() else float(above))
    return found[0], found[1], found[2]


def chosen(runs: Sequence[Run], **what: str) -> list[Run]:
    return [run for run in runs if all(run[key] == value for key, value in what.items())]


# --- tables --------------------------------------------------------------------------------------------------


def print_results(runs: Sequence[Run]) -> None:
    for name in dict.fromkeys(run["task"] for run in runs):
        _print_task(chosen(runs, task=name), TASKS[name])


def _print_task(runs: Sequence[Run], task: Task) -> None:
    budget = max(run["cost"] for run in runs)
    asha = {run["repeat"]: run for run in chosen(runs, how="ASHA")}

    def beats(same: Sequence[Run]) -> str:
        return f"{sum(best_at(r, budget) < best_at(asha[r['repeat']], budget) for r in same)} of {len(same)}"

    def beats_in_test(same: Sequence[Run]) -> str:
        return f"{sum(_test(r) > _test(asha[r['repeat']]) for r in same)} of {len(same)}"

    figures: dict[str, Callable[[Sequence[Run]], str]] = {
        f"validation loss after {budget // 3} epochs": lambda same: _told(best_at(r, budget // 3) for r in same),
        f"validation loss after {budget} epochs": lambda same: _told(best_at(r, budget) for r in same),
        f"{task.score} of the network chosen by then": lambda same: _told(_test(r) for r in same),
        "beats ASHA in validation loss": beats,
        f"beats ASHA in {task.score}": beats_in_test,
        "changes by rules": lambda same: _median(r["changes"] for r in same),
        "epochs rolled back": lambda same: _median(r["rolled_back"] for r in same),
        "cpu": lambda same: f"{statistics.median(r['cpu_s'] for r in same):.1f} s",
        "trials": lambda same: _median(r["trials"] for r in same),
    }
    print(f"\n## {runs[0]['task']}: {budget} epochs a run, {len(asha)} repeats\n")
    many = dict.fromkeys(run["how"] for run in chosen(runs, mode="caviar"))
    shown = [name for name in figures if "rule" not in name and "rolled" not in name]
    rows = [[how, *(figures[name](chosen(runs, mode="caviar", how=how)) for name in shown)] for how in many]
    print_table(["caviar mode", *shown], rows)
    starts = list(dict.fromkeys(run["start"] for run in runs if run["start"]))
    hands = list(dict.fromkeys(run["how"] for run in runs if run["start"]))
    if task.plain is not None:
        loss, score = zip(*(task.plain(task.split(repeat)) for repeat in asha), strict=True)
        print(f"\n{task.plain.__name__}, no network: validation loss {_told(loss)}, {task.score} {_told(score)}")
    for name in list(figures)[:-1]:
        print(f"\nOne run: {name}\n")
        rows = [
            [start, *(figures[name](chosen(runs, start=start, how=hand)) for hand in hands)] for start in starts
        ]
        print_table(["begins at", *hands], rows)


def _test(run: Run) -> float:
    return -math.inf if run["test"] is None else run["test"]


def _told(values: Any) -> str:
    low, middle, high = ("-" if math.isinf(value) else f"{value:.3f}" for value in quartiles(list(values)))
    return f"{middle} ({low} to {high})"


def _median(values: Any) -> str:
    return f"{statistics.median(values):g}"


# --- the picture ---------------------------------------------------------------------------------------------


def draw(runs: Sequence[Run], *, html: Path | None, png: Path | None) -> None:
    """Write the picture, as a page, an image or both."""
    page = figure(runs).to_html(include_plotlyjs=True, config={"displaylogo": False, "displayModeBar": False})
    if html is not None:
        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(page, "utf-8")
        print(f"\nwritten: {html}")
    if png is not None:
        browser = shutil.which("chromium") or shutil.which("google-chrome")
        if browser is None:
            raise SystemExit("the PNG needs a Chromium in the path")
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "figure.html"
            source.write_text(f"<style>body {{ margin: 0 }}</style>{page}", "utf-8")
            size = f"--window-size={SIZE[0]},{SIZE[1]}"
            how = ["--headless", "--no-sandbox", "--hide-scrollbars", "--virtual-time-budget=10000", size]
            command = [browser, *how, f"--screenshot={png.resolve()}", source.as_uri()]
            subprocess.run(command, check=True, capture_output=True, timeout=120)
        print(f"written: {png}")


def figure(runs: Sequence[Run]) -> go.Figure:
    """Above, the best loss so far by cost; below, where one run ends by where it began. A column a task."""
    from plotly.subplots import make_subplots

    tasks = list(dict.fromkeys(run["task"] for run in runs))
    budget = max(run["cost"] for run in runs)
    titles = [f"{name}: best validation loss so far" for name in tasks]
    titles += [f"{name}: the same after {budget} epochs, by where one run began" for name in tasks]
    page = make_subplots(2, len(tasks), subplot_titles=titles, vertical_spacing=0.14, horizontal_spacing=0.07)
    for column, name in enumerate(tasks, 1):
        own = chosen(runs, task=name)
        _curves(page, own, column, budget=budget)
        _ends(page, own, column, budget=budget)
        # what a run looked like before it had learned anything may be far away
        page.update_yaxes(range=_range(own, budget=budget), col=column)
    page.update_layout(
        template="plotly_white",
        width=SIZE[0],
        height=SIZE[1],
        font={"family": "DejaVu Sans, Verdana, sans-serif", "size": 13, "color": INK},
        legend={"orientation": "h", "y": 1.085, "x": 0.5, "xanchor": "center", "yanchor": "middle"},
        legend2={"orientation": "h", "y": -0.07, "x": 0.5, "xanchor": "center", "yanchor": "middle"},
        margin={"l": 50, "r": 20, "t": 95, "b": 80},
    )
    page.update_xaxes(gridcolor=LINE, linecolor=LINE, zeroline=False)
    ticks = [number * 10.0**power for power in (-3, -2, -1, 0, 1) for number in (1, 2, 3, 4, 5, 7)]
    told = {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
    page.update_yaxes(type="log", gridcolor=LINE, linecolor=LINE, **told)
    return page


def _curves(page: Any, runs: Sequence[Run], column: int, *, budget: int) -> None:
    cost = np.arange(1, budget + 1)
    where = {"row": 1, "col": column}
    for label, (mode, how, start, colour) in LINES.items():
        same = chosen(runs, mode=mode, how=how, start=start)
        low, middle, high = np.array([quartiles([best_at(run, at) for run in same]) for at in cost]).T
        _band(page, cost, low, high, colour, **where)
        line = {"color": colour, "width": 2.5, "dash": "dot" if mode == "fixed" else "solid"}
        own = {"mode": "lines", "line": line, "name": label, "showlegend": column == 1}
        page.add_scatter(x=cost, y=np.where(np.isfinite(middle), middle, np.nan), **own, **where)
    page.update_xaxes(title_text="epochs trained, those stopped early or rolled back counted", **where)


def _ends(page: Any, runs: Sequence[Run], column: int, *, budget: int) -> None:
    starts = list(dict.fromkeys(run["start"] for run in runs if run["start"]))
    where = {"row": 2, "col": column}
    own: dict[str, Any] = {"legend": "legend2", "showlegend": column == 1}
    edges = [-0.5, len(starts) - 0.5]
    low, middle, high = quartiles([best_at(run, budget) for run in chosen(runs, how="ASHA")])
    blue = LINES["caviar, ASHA"][3]
    _band(page, edges, [low] * 2, [high] * 2, blue, **where)
    line = {"color": blue, "width": 2.5}
    page.add_scatter(x=edges, y=[middle] * 2, mode="lines", line=line, name="caviar, ASHA", **own, **where)
    for place, (hand, colour) in enumerate(HANDS.items()):
        found = [quartiles([best_at(run, budget) for run in chosen(runs, start=one, how=hand)]) for one in starts]
        there = [(number, *one) for number, one in enumerate(found) if np.isfinite(one).all()]
        for number in {*range(len(starts))} - {one[0] for one in there}:
            page.add_annotation(text=f"{hand}: diverges", x=number, y=0, yref="y domain", showarrow=False, **where)
        at, low, middle, high = np.array(there).T
        bars = {"type": "data", "array": high - middle, "arrayminus": middle - low, "thickness": 1.5, "width": 3}
        marker = {"color": colour, "size": 9, "symbol": "circle-open" if hand == "fixed" else "circle"}
        own |= {"mode": "markers", "marker": marker, "error_y": bars, "name": f"one run, {hand}"}
        page.add_scatter(x=at + (place - (len(HANDS) - 1) / 2) * 0.14, y=middle, **own, **where)
    page.update_xaxes(tickvals=list(range(len(starts))), ticktext=starts, range=edges, **where)


def _range(runs: Sequence[Run], *, budget: int) -> list[float]:
    """From the lowest to the highest quartile at the end; on a logarithmic axis."""
    ways = dict.fromkeys((run["how"], run["start"]) for run in runs)
    ends = [quartiles([best_at(run, budget) for run in chosen(runs, how=how, start=at)]) for how, at in ways]
    there = [value for one in ends for value in one if math.isfinite(value)]
    return [math.log10(0.9 * min(there)), math.log10(1.15 * max(there))]


def _band(page: Any, x: Any, low: Any, high: Any, colour: str, **where: int) -> None:
    """Between the quartiles, where both are finite."""
    x, low, high = (np.asarray(each, float) for each in (x, low, high))
    there = np.isfinite(low) & np.isfinite(high)
    around = np.concatenate([x[there], x[there][::-1]])
    edge = np.concatenate([low[there], high[there][::-1]])
    silent = {"hoverinfo": "skip", "showlegend": False, "line": {"width": 0}, "mode": "lines"}
    page.add_scatter(x=around, y=edge, fill="toself", fillcolor=_faint(colour), **silent, **where)


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.13)"


if __name__ == "__main__":
    main()
