"""A sweep's metrics for Prometheus, through Ray's metrics API: Ray puts ``ray_`` before their names, and serves
them at the metrics endpoint of the driver's node.

Ray's calls write to memory, and a thread of Ray's own passes that on every 10 s: nothing here waits for an agent
or a head that is gone. A gauge that was set is passed on once, and forgotten 20 s after that.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any

from caviar.execution.vitals import Vitals
from caviar.execution.worker import Worker

_log = logging.getLogger(__name__)

LABELS = ("sweep", "folder")
"""Of every metric: the sweep's name, and where it lies, since another one may have that name too."""

GAUGES = {
    "caviar_trials": ("Trials by state.", "state"),
    "caviar_queued_trials": ("Trials that have not begun, by where they are.", "where"),
    "caviar_workers": ("Workers by what they do.", "state"),
    "caviar_uncommitted_rows": ("Reports and events that are not yet durable.", None),
    "caviar_driver_lag_seconds": ("By how much the driver's loop came round late, at the worst of 10 s.", None),
    "caviar_driver_busy_ratio": ("Share of a core that the driver's loop uses.", None),
}
COUNTERS = {
    "caviar_reports_total": ("Reports that arrived.", None),
    "caviar_decisions_total": ("Decisions of the scheduler.", "decision"),
    "caviar_workers_lost_total": ("Workers that were lost.", None),
}
COMMIT = "caviar_commit_duration_seconds"
COMMIT_BUCKETS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]

_Values = dict[tuple[str, str | None], float]
"""By the name of a metric and the value of its own label."""


class RayMetrics:
    """Exports one sweep's metrics for as long as it runs. Where Ray refuses, it is silent from then on."""

    def __init__(self, sweep: str, folder: str, *, metrics: Any = None) -> None:
        """``metrics``: the module that makes them, Ray's where None; then Ray must be initialised, as it forgets
        metrics that are made before."""
        self._labels = dict(zip(LABELS, (sweep, folder), strict=True))
        self._made: dict[str, Any] = {}
        self._counted: _Values = {}
        """The counters as they were last shown."""
        self._set: set[tuple[str, str | None]] = set()
        """Gauges that were ever set."""
        try:
            self._make(metrics)
        except Exception as error:  # noqa: BLE001 - whatever Ray raises, the sweep goes on
            self._give_up(error)

    def show(self, vitals: Vitals, workers: Iterable[Worker]) -> None:
        """Pass on how things stand."""
        if not self._made:
            return
        try:
            self._export(vitals, workers)
        except Exception as error:  # noqa: BLE001 - as above
            self._give_up(error)

    def close(self) -> None:
        """The sweep is over for this driver: what it had of workers and queues it has no more. Trials keep their
        states until Ray forgets them too."""
        try:
            for name, value in self._set:
                if self._made and name != "caviar_trials":
                    self._made[name].set(0.0, self._tags(GAUGES[name][1], value))
        except Exception as error:  # noqa: BLE001 - as above
            self._give_up(error)
        self._made = {}

    def _make(self, metrics: Any) -> None:
        if metrics is None:
            if not has_endpoint():
                return
            from ray.util import metrics
        made = {}
        for kind, described in ((metrics.Gauge, GAUGES), (metrics.Counter, COUNTERS)):
            for name, (told, label) in described.items():
                made[name] = kind(name, told, tag_keys=(*LABELS, label) if label else LABELS)
        told = "How long commits take: reports and events made durable."
        made[COMMIT] = metrics.Histogram(COMMIT, told, boundaries=COMMIT_BUCKETS_S, tag_keys=LABELS)
        self._made = made

    def _export(self, vitals: Vitals, workers: Iterable[Worker]) -> None:
        for key, amount in gauges(vitals, workers).items():
            name, value = key
            self._set.add(key)
            self._made[name].set(float(amount), self._tags(GAUGES[name][1], value))
        for key, amount in counters(vitals).items():
            name, value = key
            more = amount - self._counted.get(key, 0)
            if more > 0:
                self._made[name].inc(float(more), self._tags(COUNTERS[name][1], value))
            self._counted[key] = amount
        for took_s in vitals.commits_s:
            self._made[COMMIT].observe(took_s, self._labels)

    def _tags(self, label: str | None, value: str | None) -> dict[str, str]:
        return self._labels if label is None or value is None else {**self._labels, label: value}

    def _give_up(self, error: Exception) -> None:
        self._made = {}
        _log.info("no metrics of this sweep: Ray says %s: %s", type(error).__name__, error)


def gauges(vitals: Vitals, workers: Iterable[Worker]) -> _Values:
    """What there is now."""
    at = Counter[str]()
    in_hand = 0
    for worker in workers:
        at["starting" if not worker.ready else "training" if worker.started else "idle"] += 1
        in_hand += worker.in_hand
    waiting = max(0, vitals.trials.get("pending", 0) - in_hand)
    queued = {"in_hand": in_hand, "waiting": waiting, "to_come": vitals.to_come}
    return {
        **{("caviar_trials", state): count for state, count in vitals.trials.items()},
        **{("caviar_queued_trials", where): count for where, count in queued.items()},
        **{("caviar_workers", state): at[state] for state in ("training", "idle", "starting")},
        ("caviar_uncommitted_rows", None): vitals.uncommitted_rows,
        ("caviar_driver_lag_seconds", None): vitals.lag_s,
        ("caviar_driver_busy_ratio", None): vitals.busy,
    }


def counters(vitals: Vitals) -> _Values:
    """What there was since this driver began."""
    return {
        ("caviar_reports_total", None): vitals.reports,
        ("caviar_workers_lost_total", None): vitals.workers_lost,
        **{("caviar_decisions_total", decision): count for decision, count in vitals.decisions.items()},
    }


def has_endpoint() -> bool:
    """Whether the node that this process is on serves metrics. Through a Ray client there is no such node."""
    import ray

    if ray.util.client.ray.is_connected():  # type: ignore[no-untyped-call]
        return False
    here = ray.get_runtime_context().get_node_id()
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return any(node["NodeID"] == here and node["MetricsExportPort"] > 0 for node in nodes)
