"""What the page on observability says of metrics and logs is what there is, and its queries are queries of it."""

from __future__ import annotations

import json
import re
from typing import Any

import promql_parser
import pytest

from caviar.cli.logs import FIELDS
from caviar.execution.ray_metrics import COMMIT, COUNTERS, GAUGES, LABELS, counters, gauges
from caviar.execution.vitals import Vitals
from caviar.trial import TrialState
from tests.pages import ROOT, blocks
from tests.test_docs import rows

PAGE = ROOT / "docs" / "guides" / "observability.md"
DASHBOARD = json.loads((PAGE.parent / "grafana.json").read_text("utf-8"))

VITALS = Vitals(
    trials=dict.fromkeys(map(str, TrialState), 0),
    to_come=0,
    reports=0,
    decisions=dict.fromkeys(("continue", "stop", "spare"), 0),
    workers_lost=0,
    uncommitted_rows=0,
    commits_s=[],
    lag_s=0.0,
    busy=0.0,
)


def own_label(name: str) -> str | None:
    return {**GAUGES, **COUNTERS}[name][1] if name != COMMIT else None


def values(name: str) -> set[str | None]:
    """Of the metric's own label."""
    return {value for exported, value in [*gauges(VITALS, []), *counters(VITALS)] if exported == name}


def queries() -> list[str]:
    written = [line for block in blocks(PAGE) if block.language == "promql" for line in block.text.splitlines()]
    drawn = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    assert len(written) == 6
    assert len(drawn) >= 8
    return written + drawn


def test_the_table_of_metrics_has_all_of_them() -> None:
    types = {**dict.fromkeys(GAUGES, "gauge"), **dict.fromkeys(COUNTERS, "counter"), COMMIT: "histogram"}
    found = rows(PAGE.read_text("utf-8"), "Metrics", 4)
    assert {name: (kind, label) for name, kind, label, _ in found} == {
        f"ray_{name}": (kind, own_label(name) or "") for name, kind in types.items()
    }
    for name, _, label, meaning in found:
        if label:
            named = {str(value) for value in values(name.removeprefix("ray_"))}
            assert {word for word in named if word not in meaning} == set(), name


@pytest.mark.parametrize("query", queries())
def test_queries_ask_for_what_there_is(query: str) -> None:
    promql_parser.parse(query.replace("$sweep", "digits"))
    selectors = re.findall(r"ray_(caviar_\w+)(?:\{([^}]*)\})?", query)
    assert selectors
    grouped = {label for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(", ")}
    known = {*LABELS}
    for name, matchers in selectors:
        histogram = re.fullmatch(rf"{COMMIT}_(bucket|sum|count)", name)
        base = COMMIT if histogram else name
        assert base in {*GAUGES, *COUNTERS, COMMIT}, name
        known |= {"le"} if name == f"{COMMIT}_bucket" else {own_label(base) or "sweep"}
        for label, asked in re.findall(r'(\w+)=~?"([^"]*)"', matchers):
            if label != "sweep":
                assert label == own_label(base)
                assert set(asked.split("|")) <= values(base)
    assert grouped <= known


def test_the_dashboard_can_be_imported() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    variables = {one["name"] for one in DASHBOARD["templating"]["list"]}
    used: Any = re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))
    assert set(used) == variables


def test_the_table_of_fields_has_all_of_them() -> None:
    cells = [cell for cell, _ in rows(PAGE.read_text("utf-8"), "The log", 2)]
    found = {name.strip(" `") for cell in cells for name in cell.split(",")}
    assert found == {"time", "level", "logger", "message", "folder", "exception", *FIELDS}
