"""Drivers that are made to die: what `test_kills` starts, each in a process of its own.

`python -m tests.faults.kills nursery` forks a driver for every order on its input, with all that a driver imports
loaded already. A driver appends to a file what it knows to be durable, and the state that wrote it; a file keeps
what was appended however its writer ends.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import caviar
import caviar.execution.ray
import caviar.launch
from caviar import commits, controller, runner
from caviar.execution import inline
from caviar.state import Plan, SweepState
from caviar.store import roller
from caviar.store.checkpoints import CheckpointFiles
from caviar.store.files import Files
from caviar.store.recorder import Recorder
from caviar.store.roller import Roller

STEP_S = 0.0005
STEP_ON_RAY_S = 0.01
TRIALS, TRIALS_ON_RAY = 18, 40

# --- what is trained -----------------------------------------------------------------------------------

SPACE = caviar.Space(
    lr=caviar.Float(1e-3, 1.0, scale="log"),
    kind=caviar.Choice(["plain", "curved"]),
    bend=caviar.Float(0.9, 0.999, scale="one_minus_log", when={"kind": "curved"}),
    width=8,
)


def learn(trial: caviar.Trial, *, fails: bool, step_s: float = STEP_S, **told: float) -> None:
    """Deterministic for each trial, as long as what is restored is what was saved: every loss adds to a sum."""
    rate = trial.params["lr"] * trial.params.get("bend", 1.0)
    total = float((trial.restored / "total").read_text()) if trial.restored else 0.0
    for step in trial.steps():
        time.sleep(step_s)
        total += rate * (1 + (trial.seed * step) % 7) / step
        loss = float("nan") if trial.id % 6 == 5 and step == 6 else total
        trial.report(loss=loss, gain=-loss, **told)
        if step % 3 == 0:
            trial.report(extra=total * step, **{f"of {trial.id % 2}": float("inf") if step == 6 else 1.0})
        if fails and step == 5 and (trial.id % 8 == 3 or (trial.id % 4 == 1 and trial.attempt == 0)):
            raise ValueError("a fault of its own")
        if trial.checkpoint_due:
            with trial.checkpoint() as folder:
                (folder / "total").write_text(repr(total))


def learns(trial: caviar.Trial) -> None:
    learn(trial, fails=False)


def learns_or_fails(trial: caviar.Trial) -> None:
    learn(trial, fails=True)


def learns_on_ray(trial: caviar.Trial) -> None:
    """Metrics say which processes train it: the training process, its fork server, and Ray's actor above that."""
    server = os.getppid()
    actor = int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])
    learn(trial, fails=True, step_s=STEP_ON_RAY_S, training=os.getpid(), server=server, actor=actor)


def _sweep(train: Callable[[caviar.Trial], None], **changes: Any) -> caviar.Sweep:
    arguments = {
        "metric": "loss",
        "trials": TRIALS,
        "max_step": 9,
        "first": [{"lr": 0.5}, {"kind": "plain"}],
        **changes,
    }
    return caviar.Sweep(train, SPACE, **arguments)


SWEEPS = {
    "plain": _sweep(learns_or_fails, stop_on_nan=False),
    "checkpoints": _sweep(learns_or_fails, checkpoint_every=2),
    "asha": _sweep(learns, metric="gain", mode="max", scheduler=caviar.Asha(grace_steps=1, reduction_factor=2)),
    "asha-checkpoints": _sweep(
        learns,
        scheduler=caviar.Asha(grace_steps=2, reduction_factor=2),
        checkpoint_every=1,
        keep_checkpoints="all",
    ),
    "asha-retries": _sweep(
        learns_or_fails, scheduler=caviar.Asha(grace_steps=1, reduction_factor=3), checkpoint_every=3
    ),
    "ray": _sweep(learns_on_ray, trials=TRIALS_ON_RAY, checkpoint_every=2),
    "ray-asha": _sweep(
        learns_on_ray,
        trials=TRIALS_ON_RAY,
        scheduler=caviar.Asha(grace_steps=1, reduction_factor=2),
        checkpoint_every=2,
    ),
}

# --- how a driver tells, and dies ----------------------------------------------------------------------


def digest(state: SweepState) -> int:
    """A number that two states share exactly where they are the same, down to the heaps of the rungs."""
    picture = {**state.picture(), "plan": _plan(state.plan)}
    return zlib.crc32(repr(_plain(picture)).encode())


_plans: list[tuple[Plan, int]] = []


def _plan(plan: Plan) -> int:
    """A number for a plan, which seldom changes."""
    for known, number in _plans:
        if known is plan:
            return number
    _plans.append((plan, zlib.crc32(repr(_plain(plan)).encode())))
    return _plans[-1][1]


def _plain(value: Any) -> Any:
    """Without what differs between a declaration in Python and the same one read from JSON."""
    if isinstance(value, dict):
        return sorted((repr(key), _plain(one)) for key, one in value.items())
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    if isinstance(value, caviar.Space):
        return _plain(value.to_dict())
    if dataclasses.is_dataclass(value):
        return [type(value).__name__, *(_plain(getattr(value, one.name)) for one in dataclasses.fields(value))]
    slots = [name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ())]
    if slots and type(value).__module__.startswith("caviar."):
        return [type(value).__name__, *(_plain(getattr(value, name)) for name in slots)]
    if type(value).__module__.startswith("caviar.") and hasattr(value, "__dict__"):
        return [type(value).__name__, _plain(vars(value))]
    return value


class Teller:
    """Appends lines of JSON to a file."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def __call__(self, **told: Any) -> None:
        os.write(self._file, json.dumps(told).encode() + b"\n")


class Fuse:
    """Kills this process at the n-th operation on the file system, or the n-th within a phase."""

    def __init__(self, tell: Teller, *, phase: str, operation: int, how: str) -> None:
        self._tell = tell
        self._phase = phase
        self._left = operation
        self._how = how
        self._here = threading.local()
        self.operations = Counter[str]()
        """How many there were in each phase."""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        before = self._now
        self._here.phases = (*before, name)
        try:
            yield
        finally:
            self._here.phases = before

    @property
    def _now(self) -> tuple[str, ...]:
        phases: tuple[str, ...] = getattr(self._here, "phases", ())
        return phases

    def lay(self) -> None:
        """Watch the phases and the operations."""
        for cls, name, phase in (
            (Recorder, "create", "creation"),
            (Recorder, "open", "opening"),
            (Recorder, "commit", "commit"),
            (Roller, "roll", "roll"),
            (Recorder, "close", "close"),
            (CheckpointFiles, "checkpoint", "checkpoint"),
            (CheckpointFiles, "discard", "discard"),
        ):
            self._watch(cls, name, phase)
        names = [name for name, member in vars(Files).items() if callable(member) and not name.startswith("_")]
        for name in names:
            if name not in ("create", "replace", "probe"):  # made of the others
                setattr(Files, name, self._fused(name, getattr(Files, name)))

    def _watch(self, cls: type, name: str, phase: str) -> None:
        inner = vars(cls)[name]
        if isinstance(inner, classmethod):
            function = inner.__func__

            def watched_of_class(cls: Any, *args: Any, **kwargs: Any) -> Any:
                with self.phase(phase):
                    return function(cls, *args, **kwargs)

            setattr(cls, name, classmethod(watched_of_class))
        elif name == "checkpoint":

            @contextmanager
            def watched_block(*args: Any, **kwargs: Any) -> Iterator[Any]:
                with self.phase(phase), inner(*args, **kwargs) as folder:
                    yield folder

            setattr(cls, name, watched_block)
        else:

            def watched(*args: Any, **kwargs: Any) -> Any:
                with self.phase(phase):
                    return inner(*args, **kwargs)

            setattr(cls, name, watched)

    def _fused(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def fused(files: Files, *args: Any, **kwargs: Any) -> Any:
            phases = self._now
            self.operations.update(phases)
            if self._phase not in ("any", *phases):
                return operation(files, *args, **kwargs)
            self._left -= 1
            if self._left:
                return operation(files, *args, **kwargs)
            if self._how == "torn" and name == "write":
                path, data = args
                path.write_bytes(data[: len(data) // 2])
            elif self._how == "after":
                operation(files, *args, **kwargs)
            self._tell(died=[*phases], operation=name, how=self._how)
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError("nobody comes here")

        return fused


def drive(order: dict[str, Any]) -> None:
    """Run a sweep, or go on with it, as an order says."""
    tell = Teller(order["told"])
    hasten()
    fuse = Fuse(tell, **order["fuse"])
    fuse.lay()
    _tell_commits(tell)
    _tell_states(tell)
    sweep = SWEEPS[order["sweep"]]
    executor = caviar.Inline() if order["address"] is None else caviar.Ray(order["address"], workers=2)
    begun = time.monotonic()
    result = sweep.run(order["path"], executor, resume=True)
    tell(ended=result.status, seconds=time.monotonic() - begun, operations=fuse.operations)


def hasten() -> None:
    """A whole life of a sweep, with many commits and some rolls, within a fraction of a second."""
    commits.COMMIT_S = 0.01
    roller.ROLL_MIN_S = 0.03
    inline.FLUSH_S = 0.002
    runner.POLL_S = 0.005
    runner.INBOX_S = 0.01
    controller.RETRY_S = 0.01
    caviar.execution.ray.INTERVAL_S = 0.01


def _tell_commits(tell: Teller) -> None:
    """Tell what a commit made durable: before it is acknowledged, which may only be later."""
    commit = Recorder.commit

    def told(recorder: Recorder, reports: Any, events: Any) -> None:
        first = recorder.events
        commit(recorder, reports, events)
        rows = [
            [*map(int, (block.trial[i], block.attempt[i], block.seq[i], block.step[i])), name, repr(float(value))]
            for block in reports
            for i, values in enumerate(block.values)
            for name, value in zip(block.names, values, strict=True)
        ]
        tell(
            rows=rows, events=[[first + i, event.kind, event.trial, event.data] for i, event in enumerate(events)]
        )

    Recorder.commit = told  # type: ignore[method-assign]


def _tell_states(tell: Teller) -> None:
    """Tell the state after every event that this driver recorded itself."""
    apply = SweepState.apply
    applied = 0
    live = False

    def told(state: SweepState, event: Any) -> None:
        nonlocal applied, live
        apply(state, event)
        if type(event) not in state._folds:
            return
        applied += 1
        live = live or getattr(event, "pid", None) == os.getpid()
        if live:
            tell(state=[applied, digest(state)])

    SweepState.apply = told  # type: ignore[method-assign]


# --- the nursery, and a Ray ----------------------------------------------------------------------------


def nursery() -> None:
    """A line of input is an order: fork a driver, say its pid, wait for its end, say that."""
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            status = 1
            try:
                drive(json.loads(line))
                status = 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                sys.stderr.flush()
                os._exit(status)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def head() -> None:
    """A Ray on this machine, for as long as the input is open; says its address."""
    import ray

    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
    ray.shutdown()


if __name__ == "__main__":
    {"nursery": nursery, "head": head}[sys.argv[1]]()
