"""What the driver's log says of a sweep, and to whom."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

import caviar
from caviar import commits as commits_module
from caviar.commits import Commits
from caviar.journal import Journal
from caviar.messages import Decided, StageOpened, TrialEnded, WorkerLost
from caviar.state import SweepState
from tests.test_pulse import SWEEP


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.event, record.getMessage()) for record in caplog.records if hasattr(record, "event")]


def test_a_sweep_is_told_of_from_its_start_to_its_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "caviar"):
        result = SWEEP.run(tmp_path / "digits", caviar.Inline())
    kinds = [kind for kind, _ in logged(caplog)]
    assert kinds == ["driver_started", "sweep_started", "trial_ended", "sweep_ended"]
    assert {record.levelname for record in caplog.records} == {"INFO"}
    failed, ended = caplog.records[-2:]
    told: Any = failed
    assert (told.sweep, told.trial, told.attempt, told.step) == ("digits", 3, 0, 1)
    assert "ValueError: no luck" in failed.getMessage()
    told = ended
    assert told.trials == result.counts()
    assert ended.getMessage().startswith("sweep ended: done; ")
    assert "1 failed" in ended.getMessage()


def test_nobody_is_told_who_has_not_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    SWEEP.run(tmp_path / "digits", caviar.Inline())
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (WorkerLost(0, "worker-3", "it fell", "node-7"), "worker worker-3 on node-7 lost: it fell"),
        (WorkerLost(0, "worker-3", "it fell"), "worker worker-3 lost: it fell"),
        (StageOpened(0, 1, {}, ()), "stage 1 opened: in the same space"),
        (StageOpened(0, 0, {}), None),
        (TrialEnded(0, 5, 1, 2, "stopped"), None),
        (TrialEnded(0, 5, 1, 2, "failed", "a crash"), "trial 5 failed: a crash"),
        (Decided(0, 5, 1, 2, 2, 0.5, "stop"), None),
    ],
)
def test_only_what_is_notable(event: Any, told: str | None, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal("digits", SweepState(SWEEP.plan()))
    with caplog.at_level(logging.INFO, "caviar"):
        journal.note(event)
    assert [text for _, text in logged(caplog)] == ([] if told is None else [told])
    for name in ("worker", "node"):
        expected = getattr(event, name, None)
        assert all(getattr(record, name, None) == expected for record in caplog.records)


def test_a_slow_commit_is_told_of(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    class Slow:
        def commit(self, reports: Any, events: Any) -> None: ...
        def tick(self) -> None: ...
        def close(self, *, final: bool) -> None: ...

    monkeypatch.setattr(commits_module, "SLOW_COMMIT_S", -1.0)
    commits = Commits(Slow(), acknowledge=lambda delivery: None, tidy=lambda event: None)
    commits.add_event(WorkerLost(0, "worker-0", "gone"))
    assert commits.take() == (1, [])
    with caplog.at_level(logging.INFO, "caviar"):
        commits.flush()
    assert [record.getMessage() for record in caplog.records] == [
        "a commit of 1 rows took 0.0 s: the storage is slow"
    ]
    rows, took_s = commits.take()
    assert (rows, len(took_s)) == (0, 1)
    assert commits.take() == (0, [])
    commits.finish(final=True, gives_up=lambda: True)
