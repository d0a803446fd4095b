"""A sweep's metrics: what is exported through Ray, and what a scrape of a real cluster finds."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from caviar.execution.ray_metrics import COMMIT, COUNTERS, GAUGES, RayMetrics
from caviar.execution.vitals import Vitals
from caviar.execution.worker import Worker
from caviar.messages import Launch
from tests.cluster.nodes import DEADLINE_S, Nodes, until

VITALS = Vitals(
    trials={"pending": 3, "running": 1, "completed": 4},
    to_come=12,
    reports=100,
    decisions={"stop": 2},
    workers_lost=0,
    uncommitted_rows=7,
    commits_s=[0.25, 0.5],
    lag_s=0.125,
    busy=0.5,
)


@dataclass
class Fake:
    """Ray's metrics, as far as they are used here: strict about tags, as Ray is."""

    written: list[tuple[str, float, dict[str, str]]] = field(default_factory=list)
    broken: bool = False

    def metric(self, name: str, description: str, *, tag_keys: tuple[str, ...], boundaries: Any = None) -> Any:
        assert description

        def write(value: float, tags: dict[str, str]) -> None:
            if self.broken:
                raise RuntimeError("no more")
            assert set(tags) == set(tag_keys)
            assert type(value) is float
            self.written.append((name, value, {key: tags[key] for key in tag_keys[2:]}))

        def inc(value: float, tags: dict[str, str]) -> None:
            assert value > 0
            write(value, tags)

        return SimpleNamespace(set=write, inc=inc, observe=write)

    @property
    def module(self) -> Any:
        return SimpleNamespace(Gauge=self.metric, Counter=self.metric, Histogram=self.metric)

    def take(self) -> dict[tuple[str, ...], float | list[float]]:
        found: dict[tuple[str, ...], Any] = {}
        for name, value, tags in self.written:
            if name == COMMIT:
                found.setdefault((name,), []).append(value)
            else:
                assert (name, *tags.values()) not in found
                found[name, *tags.values()] = value
        self.written.clear()
        return found


def launch(trial: int) -> Launch:
    return Launch(trial, 0, {}, 0, None)


def workers() -> list[Worker]:
    trains = Worker("worker-0", None, ready=True, trials={0: launch(0), 1: launch(1)}, started={0: 1})
    return [trains, Worker("worker-1", None, ready=True), Worker("worker-2", None)]


def test_what_is_exported() -> None:
    fake = Fake()
    metrics = RayMetrics("digits", "/runs/digits", metrics=fake.module)
    metrics.show(VITALS, workers())
    assert fake.take() == {
        ("caviar_trials", "pending"): 3,
        ("caviar_trials", "running"): 1,
        ("caviar_trials", "completed"): 4,
        ("caviar_queued_trials", "in_hand"): 1,
        ("caviar_queued_trials", "waiting"): 2,
        ("caviar_queued_trials", "to_come"): 12,
        ("caviar_workers", "training"): 1,
        ("caviar_workers", "idle"): 1,
        ("caviar_workers", "starting"): 1,
        ("caviar_uncommitted_rows",): 7,
        ("caviar_driver_lag_seconds",): 0.125,
        ("caviar_driver_busy_ratio",): 0.5,
        ("caviar_reports_total",): 100,
        ("caviar_decisions_total", "stop"): 2,
        (COMMIT,): [0.25, 0.5],
    }


def test_counters_go_up_by_what_has_happened_since() -> None:
    fake = Fake()
    metrics = RayMetrics("digits", "/runs/digits", metrics=fake.module)
    metrics.show(VITALS, [])
    fake.take()
    more = replace(VITALS, reports=130, decisions={"stop": 2, "continue": 1}, workers_lost=2, commits_s=[])
    for expected in (
        {
            ("caviar_reports_total",): 30,
            ("caviar_decisions_total", "continue"): 1,
            ("caviar_workers_lost_total",): 2,
        },
        {},
    ):
        metrics.show(more, [])
        assert {key: value for key, value in fake.take().items() if key[0] not in GAUGES} == expected


def test_what_a_sweep_had_of_a_cluster_it_has_no_more_when_it_is_over() -> None:
    fake = Fake()
    metrics = RayMetrics("digits", "/runs/digits", metrics=fake.module)
    metrics.show(VITALS, workers())
    fake.take()
    metrics.close()
    last = fake.take()
    assert {name for name, *_ in last} == set(GAUGES) - {"caviar_trials"}
    assert set(last.values()) == {0.0}
    metrics.show(VITALS, workers())
    metrics.close()
    assert fake.take() == {}, "it is over"


def test_a_ray_that_refuses_does_not_trouble_the_sweep(caplog: pytest.LogCaptureFixture) -> None:
    fake = Fake()
    metrics = RayMetrics("digits", "/runs/digits", metrics=fake.module)
    fake.broken = True
    with caplog.at_level("INFO", "caviar"):
        metrics.show(VITALS, [])
        metrics.show(VITALS, [])
        metrics.close()
        RayMetrics("digits", "/runs/digits", metrics=object())
    texts = [record.getMessage() for record in caplog.records]
    assert texts[0] == "no metrics of this sweep: Ray says RuntimeError: no more"
    assert len(texts) == 2, "each is said once"


def test_names_follow_the_conventions() -> None:
    for name in (*GAUGES, *COUNTERS, COMMIT):
        assert re.fullmatch(r"caviar_[a-z_]+", name)
        assert name.endswith("_total") == (name in COUNTERS)


# --- a real cluster -----------------------------------------------------------------------------------

DIGITS = """
import time
from pathlib import Path

import caviar

def train(trial):
    for _ in trial.steps():
        trial.report(loss=1.0)  # as good as all others: nobody is stopped
        while trial.step == 2 and not Path({gate!r}).exists():
            time.sleep(0.02)

sweep = caviar.Sweep(
    train, caviar.Space(x=caviar.Float(0, 1)), metric="loss", trials=4, max_step=4,
    scheduler=caviar.Asha(grace_steps=1),
)
"""

QUICK = {"RAY_metrics_report_interval_ms": "1000"}
"""What nodes and drivers have in their environment: values are passed on every second, and forgotten after two."""


class Watched(Nodes):
    """A cluster of one node that passes metrics on quickly."""

    def __init__(self) -> None:
        super().__init__(cpus=4, token=False, environment=QUICK)

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | QUICK

    @property
    def endpoint(self) -> str:
        """Where its metrics are, as it tells Prometheus: the node's first, then those of Ray's own services."""
        found = json.loads((self.head.folder / "prom_metrics_service_discovery.json").read_text())
        return f"http://{found[0]['targets'][0]}/metrics"

    def scrape(self) -> dict[tuple[str, ...], dict[str, float]]:
        """By the folder of a sweep and the name of a metric: the values by the metric's own label."""
        found: dict[tuple[str, ...], dict[str, float]] = {}
        with urllib.request.urlopen(self.endpoint, timeout=20) as reply:
            text = reply.read().decode()
        for line in text.splitlines():
            match = re.fullmatch(r"ray_(caviar_\w+)\{(.*)\} (\S+)", line)
            if match is None:
                continue
            labels = dict(re.findall(r'(\w+)="([^"]*)"', match[2]))
            own = next((labels[name] for name in ("state", "where", "decision", "le") if name in labels), "")
            assert labels["sweep"] == "digits"
            found.setdefault((labels["folder"], match[1]), {})[own] = float(match[3])
        return found

    def actors(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/api/v0/actors?detail=1")["data"]["result"]["result"]
        return found


def serves(cluster: Watched) -> bool:
    with suppress(OSError):  # its agent comes up later than itself
        return cluster.scrape() == {}
    return False


@pytest.fixture(scope="module")
def head() -> Iterator[Watched]:
    cluster = Watched()
    try:
        until(lambda: serves(cluster))
        yield cluster
    finally:
        cluster.end()


def at_the_gate(scraped: Mapping[tuple[str, ...], dict[str, float]], folder: str) -> dict[str, dict[str, float]]:
    """What there is of a sweep whose two trials wait at the gate; nothing, as long as that is not all there."""
    found = {name: values for (where, name), values in scraped.items() if where == folder}
    expected = {*GAUGES, *COUNTERS, *(f"{COMMIT}_{part}" for part in ("bucket", "count", "sum"))}
    expected.discard("caviar_workers_lost_total")  # it is there once there is one
    whole = set(found) == expected and found["caviar_reports_total"] == {"": 4}
    there = whole and found["caviar_trials"].get("running") == found["caviar_workers"].get("training") == 2
    return found if there else {}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_sweeps_of_one_name_on_a_real_cluster(head: Watched, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    file = tmp_path / "digits.py"
    file.write_text(textwrap.dedent(DIGITS.format(gate=str(gate))))
    folders = [str(tmp_path / side / "digits") for side in "ab"]
    run = [sys.executable, "-m", "caviar", "run", str(file), "--address", head.address]
    drivers = [
        subprocess.Popen(
            [*run, "--workers", "2", "--out", folder, "--log-format", "json"],
            env=head.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for folder in folders
    ]
    try:
        for folder in folders:
            found = until(lambda folder=folder: at_the_gate(head.scrape(), folder))
            assert found["caviar_workers"] == {"training": 2, "idle": 0, "starting": 0}
            assert sum(found["caviar_queued_trials"].values()) == 2
            assert found["caviar_decisions_total"] == {"continue": 2}
            assert found[f"{COMMIT}_count"][""] >= 1
            assert found[f"{COMMIT}_bucket"]["+Inf"] == found[f"{COMMIT}_count"][""]

        names = ["caviar:digits:worker-0", "caviar:digits:worker-1"]
        until(lambda: sorted(actor["repr_name"] for actor in head.actors()) == sorted(names * 2))
        actors = head.actors()
        assert len({actor["job_id"] for actor in actors}) == 2
        titled = sorted(f"ray::{name}" for name in names * 2)
        until(lambda: sorted(head.head.processes()[actor["pid"]] for actor in actors) == titled)

        gate.touch()
        for driver, folder in zip(drivers, folders, strict=True):
            _, errors = driver.communicate(timeout=DEADLINE_S)
            assert driver.returncode == 0, errors
            lines = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]
            ready = {line["worker"]: line["node"] for line in lines if "is ready on" in line["message"]}
            assert ready == dict.fromkeys(("worker-0", "worker-1"), socket.gethostname())
            assert {line["folder"] for line in lines} == {folder}

        def gauges() -> list[tuple[str, ...]]:
            return [key for key in head.scrape() if key[1] in GAUGES]

        until(lambda: not gauges())
        last = head.scrape()
        assert [last[folder, "caviar_reports_total"][""] for folder in folders] == [16, 16]
    finally:
        for driver in drivers:
            driver.kill()
            driver.wait()
