"""A long sweep of short trials on Ray, with faults at random: is anything lost, and does anything grow?

    python benchmarks/soak.py                  # 50,000 trials, some minutes on two cores
    python benchmarks/soak.py --trials 2000    # a smoke test
    python benchmarks/soak.py --seed 7         # the same faults again

One trial in ten does what it should not, by its own seed: it raises, leaves by `os._exit`, crashes with
SIGSEGV, diverges, hangs, prints megabytes, or leaks memory for as long as its process lives; some on their
first attempt alone, others on every one. Meanwhile this process kills worker actors, kills the driver and
starts another one, fills the disk for some seconds (where it may mount a tmpfs for the sweep), stops trials by
hand, and extends the sweep by a tenth, through the inbox.

How to read it: one line for each claim, with figures. Nothing lost: every row that a driver saw committed is
read back, once and with its value. The right end: every trial ended as its own fault has it, and its learning
curve is whole. Flat: a line through the resident memory against trials ended, from 5,000 trials of a process's
life on, of each driver, supervisor and fork server that lived through half of the sweep, must not climb by more
than 25 MiB. What a training process leaks is its own, so it is not measured. Exit status 1 where one claim does
not hold.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, print_table, save, scratch

import caviar
from caviar.execution.worker import TITLES
from caviar.messages import DriverStarted, ProcessReplaced, Reports, TrialEnded
from caviar.store.inbox import post
from caviar.store.lease import process_start
from caviar.store.reader import Reader
from caviar.store.recorder import Recorder
from caviar.store.tables import events_of

TRIALS = 50_000
MAX_STEP = 5
WARM_TRIALS = 5_000
MEASURED_TRIALS = 20_000
"""A soak of fewer trials says nothing of memory."""

GROWTH_BYTES = 25 * 2**20
"""Rolling commits into parts moves resident memory up and down by nearly as much."""

FILES_LIMIT = 1_000
"""Files of the store itself: commits, parts, commands, and what is on its way."""

DRIVER_KILLS, ACTOR_KILLS, STOPS, DISK_FULL_S = 5, 10, 20, 3.0
DISK_BYTES_A_TRIAL = 1 << 14
HANG_S = 5.0
MARK = "CAVIAR_SOAK"
ENVIRONMENT = {**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONWARNINGS": "ignore"}
"""Who starts a Ray and who joins it must agree on whether it asks for a token."""

LEAK_BYTES = 32 * 2**20
ROW = np.dtype([("trial", "i8"), ("attempt", "i4"), ("seq", "i8"), ("value", "f8")])

# --- what is trained -----------------------------------------------------------------------------------

FAULTS = (
    ("raises", 0.030, "failed"),
    ("exits", 0.010, "failed"),
    ("crashes", 0.005, "failed"),
    ("diverges", 0.020, "stopped"),
    ("floods", 0.0005, "completed"),
    ("leaks", 0.005, "completed"),
    ("hangs", 0.0003, "failed"),
    ("saves", 0.0292, "completed"),
)
"""What a trial does, how many of them do it, and how those end that do it on every attempt."""

_leaked: list[bytearray] = []


def fault_of(seed: int) -> tuple[str | None, bool]:
    """What a trial of this seed does, and whether on every attempt."""
    dice = random.Random(seed)
    place = dice.random()
    for name, share, _ in FAULTS:
        if place < share:
            return name, dice.random() < 0.5
        place -= share
    return None, False


def loss_at(seed: int, step: int) -> float:
    """What a trial reports."""
    return (seed % 1000 + 1) / step


def train(trial: caviar.Trial) -> None:
    """A trial of microseconds, with a fault where its seed says so."""
    fault, always = fault_of(trial.seed)
    if not always and trial.attempt > 0:
        fault = None
    for step in trial.steps():
        if fault == "diverges" and always and step == 3:
            trial.report(loss=float("nan"))
        trial.report(loss=loss_at(trial.seed, step))
        if fault == "saves":
            with trial.checkpoint() as folder:
                (folder / "step").write_text(str(step))
        if step == 3:
            misbehave(fault)


def misbehave(fault: str | None) -> None:
    """Do it."""
    if fault == "raises":
        raise ValueError("a fault at random")
    if fault == "exits":
        os._exit(7)
    if fault == "crashes":
        ctypes.string_at(0)
    if fault == "floods":
        for _ in range(120):  # more than a log keeps
            print("x" * 99_999)
    if fault == "leaks":
        _leaked.append(bytearray(os.urandom(1024)) * (LEAK_BYTES // 1024))
    if fault == "hangs":
        time.sleep(600)


def sweep_of(trials: int) -> caviar.Sweep:
    """The sweep, before it is extended."""
    return caviar.Sweep(
        train,
        caviar.Space(lr=caviar.Float(1e-4, 1.0, scale="log")),
        metric="loss",
        trials=trials - trials // 10,
        max_step=MAX_STEP,
        resources=caviar.Resources(progress_timeout_s=HANG_S, memory_growth_bytes=3 * LEAK_BYTES // 2),
        seed=int(os.environ[MARK].partition("-")[0]),
    )


# --- the driver ----------------------------------------------------------------------------------------


def drive(path: Path, trials: int, *, address: str, told: Path) -> None:
    """A driver, new or the successor of one that was killed; appends to ``told`` every row that it committed."""
    file = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    commit = Recorder.commit

    def telling(recorder: Recorder, reports: Sequence[Reports], events: Any) -> None:
        commit(recorder, reports, events)
        for block in reports:
            rows = np.empty(len(block), ROW)
            rows["trial"], rows["attempt"], rows["seq"] = block.trial, block.attempt, block.seq
            rows["value"] = block.values[:, 0]
            os.write(file, rows.tobytes())

    Recorder.commit = telling  # type: ignore[method-assign]
    sweep_of(trials).run(path, caviar.Ray(address, workers=2), resume=True)


def head() -> None:
    """A Ray of its own, for as long as the input is open."""
    import ray

    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
    ray.shutdown()


# --- who watches, and does the rest --------------------------------------------------------------------


class Memory:
    """Resident memory of the processes of the soak, by what they are, against trials ended."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self.samples: dict[tuple[str, int], list[tuple[int, int]]] = {}

    def sample(self, ended: int) -> None:
        """Look at all processes now."""
        for pid, kind in self.processes().items():
            with suppress(OSError, IndexError):
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                self.samples.setdefault((kind, pid), []).append((ended, pages * os.sysconf("SC_PAGE_SIZE")))

    def processes(self) -> dict[int, str]:
        """Which of the processes that carry the mark are what."""
        commands: dict[int, tuple[str, int]] = {}
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, ValueError):
                if self._mark in (place / "environ").read_text(errors="replace"):
                    parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
                    commands[int(place.name)] = (place / "cmdline").read_text().replace("\0", " "), parent
        kinds = {}
        for pid, (command, parent) in commands.items():
            if "--as driver" in command:
                kinds[pid] = "driver"
            elif command.startswith(TITLES):
                kinds[pid] = "worker"
            elif "forkserver" in command:
                kinds[pid] = "training" if "forkserver" in commands.get(parent, ("", 0))[0] else "fork server"
        return kinds


class Soak:
    """One run."""

    def __init__(self, folder: Path, trials: int, *, seed: int, may_fill: bool) -> None:
        self.may_fill = may_fill
        self.path = folder / "sweep"
        self.told = folder.parent / "told"
        self._filler = folder / "filler"
        self.trials = trials
        self.mark = f"{seed}-{secrets.token_hex(8)}"
        self.memory = Memory(self.mark)
        self.done = Counter[str]()
        self.files = 0
        """The most files of the store that were seen at once."""
        self._dice = random.Random(seed)
        self._environment = {**ENVIRONMENT, MARK: self.mark}
        self._head = self._start("head", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._head.stdout is not None
        self._address = self._head.stdout.readline().decode().strip()
        self._driver = self._drive()
        self._at_work = 0
        """The last driver that has recorded that it began."""
        self._fill_until_s = 0.0

    def run(self) -> None:
        """Until the sweep has ended."""
        plan = self._plan()
        reader: Reader | None = None
        while self._driver.poll() is None or self._driver.returncode == -signal.SIGKILL:
            if self._driver.returncode is not None:
                self._driver = self._drive()
            time.sleep(0.25)
            if reader is None:
                if not (self.path / "sweep.json").exists():
                    continue
                reader = Reader(self.path, metrics=False)
                ended = 0
            for event in events_of(reader.refresh().events):
                if isinstance(event, TrialEnded):
                    ended += 1
                elif isinstance(event, DriverStarted):
                    self._at_work = event.pid
            self.memory.sample(ended)
            self._count_files()
            self._empty_disk()
            with suppress(OSError):  # not while the disk is full: later, then
                while plan and plan[0][0] <= ended:
                    plan[0][1]()
                    plan.pop(0)
        assert self._driver.returncode == 0, f"the driver ended with status {self._driver.returncode}"

    def close(self) -> None:
        """End the Ray."""
        self._empty_disk(at_once=True)
        if self._driver.poll() is None:
            self._driver.kill()
        self._driver.wait()
        assert self._head.stdin is not None
        self._head.stdin.close()
        self._head.wait()

    def _plan(self) -> list[tuple[float, Callable[[], None]]]:
        """What is done once so many trials have ended. Who dies does so in the first fifth: who lives then is
        measured for long."""
        trials, dice = self.trials, self._dice
        plan: list[tuple[float, Callable[[], None]]] = [(0.3 * trials, self._extend)]
        plan += [(dice.uniform(0.02, 0.2) * trials, self._kill_driver) for _ in range(DRIVER_KILLS)]
        plan += [(dice.uniform(0.02, 0.2) * trials, self._kill_actor) for _ in range(ACTOR_KILLS)]
        plan += [(dice.uniform(0.02, 0.9) * trials, self._stop_one) for _ in range(STOPS)]
        plan += [(dice.uniform(0.1, 0.8) * trials, self._fill_disk) for _ in range(2 * self.may_fill)]
        return sorted(plan, key=lambda entry: entry[0])

    def _extend(self) -> None:
        post(self.path, "extend", args={"trials": self.trials // 10})
        self.done["extended"] += 1

    def _kill_driver(self) -> None:
        if self._filler.exists():
            raise BlockingIOError("a driver cannot begin on a disk that is full")
        self._driver.kill()
        self._driver.wait()
        self.done["drivers killed"] += 1

    def _kill_actor(self) -> None:
        workers = [pid for pid, kind in self.memory.processes().items() if kind == "worker"]
        if workers:
            os.kill(self._dice.choice(workers), signal.SIGKILL)
            self.done["workers killed"] += 1

    def _stop_one(self) -> None:
        reader = Reader(self.path, metrics=False)
        events = reader.read()[1]
        kinds, trials = events.column("kind").to_pylist(), events.column("trial").to_pylist()
        begun = {trial for kind, trial in zip(kinds, trials, strict=True) if kind == "trial_sampled"}
        over = {trial for kind, trial in zip(kinds, trials, strict=True) if kind == "trial_ended"}
        post(self.path, "stop", trial=max(begun - over, default=max(begun)))
        self.done["stops asked for"] += 1

    def _fill_disk(self) -> None:
        if self._at_work != self._driver.pid:
            raise BlockingIOError("no driver has begun that could wait for room")
        self._fill_until_s = time.monotonic() + DISK_FULL_S
        with suppress(OSError), self._filler.open("wb") as file:
            while True:
                file.write(bytes(1 << 20))
        self.done["disk filled"] += 1

    def _empty_disk(self, *, at_once: bool = False) -> None:
        if at_once or time.monotonic() > self._fill_until_s:
            self._filler.unlink(missing_ok=True)

    def _count_files(self) -> None:
        folders = [self.path / name for name in ("_hot", "metrics", "events", "inbox", ".tmp")]
        count = sum(len(os.listdir(folder)) for folder in folders)  # noqa: PTH208 - names alone
        self.files = max(self.files, count)

    def _drive(self) -> subprocess.Popen[bytes]:
        arguments = ["--path", str(self.path), "--told", str(self.told), "--address", self._address]
        return self._start("driver", "--trials", str(self.trials), *arguments)

    def _start(self, role: str, *arguments: str, **streams: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, __file__, "--as", role, *arguments]
        return subprocess.Popen(command, env=self._environment, start_new_session=True, **streams)


# --- the verdict ---------------------------------------------------------------------------------------

Claim = tuple[str, bool, str]
"""What is claimed, whether it holds, and the figures."""


def claims(soak: Soak) -> Iterator[Claim]:
    """What the sweep folder, the drivers' words and the samples say."""
    result = caviar.load(soak.path)
    yield (
        "the sweep ended",
        result.status == "finished" and result.ended == "done",
        f"{result.status}: {result.ended}",
    )
    trials = result.trials()
    yield "no trial is missing", len(trials) == soak.trials, f"{len(trials):,} of {soak.trials:,}"
    yield from _nothing_lost(soak)
    yield from _right_ends(result, trials)
    limit = FILES_LIMIT
    yield "files stay few", soak.files <= limit, f"at most {soak.files} at once, {limit} allowed"
    if soak.trials >= MEASURED_TRIALS:
        yield from _flat(soak)
        replaced = int((result.events().kind == ProcessReplaced.kind).sum())
        yield "it happened: processes replaced", replaced > 0, f"{replaced}"
    for what in ("drivers killed", "workers killed", "stops asked for", "extended", "disk filled"):
        if what != "disk filled" or soak.may_fill:
            yield f"it happened: {what}", soak.done[what] > 0, f"{soak.done[what]}"


def _nothing_lost(soak: Soak) -> Iterator[Claim]:
    metrics, events = Reader(soak.path).read()
    seqs = events.column("seq").to_numpy()
    yield "events have no gaps", bool((seqs == np.arange(len(seqs))).all()), f"{len(seqs):,} events"
    stored = np.empty(metrics.num_rows, ROW)
    for name in ROW.names or ():
        stored[name] = metrics.column(name).to_numpy()
    data = soak.told.read_bytes()
    told = np.frombuffer(data[: len(data) // ROW.itemsize * ROW.itemsize], ROW)
    keys = np.unique(stored[["trial", "attempt", "seq"]])
    yield "no row is doubled", len(keys) == len(stored), f"{len(stored):,} rows, {len(keys):,} of them different"
    lost = _not_in(told, stored)
    yield "no acknowledged row is lost", not lost, f"{len(told):,} acknowledged, {lost} lost"


def _not_in(told: np.ndarray, stored: np.ndarray) -> int:
    """How many rows that were told are not stored, with their values; rows of superseded attempts are told, and
    rightly dropped, where an attempt with a greater number began before they came."""
    as_bytes = [
        np.ascontiguousarray(rows).view(np.dtype((np.void, ROW.itemsize))).ravel() for rows in (told, stored)
    ]
    return int((~np.isin(*as_bytes)).sum())


def _right_ends(result: caviar.Result, trials: Any) -> Iterator[Claim]:
    events = result.events()
    sampled = events[events.kind == "trial_sampled"]
    seeds = {int(trial): data["seed"] for trial, data in zip(sampled.trial, sampled.data, strict=True)}
    curves = result.curves()
    losses = curves.groupby("trial").loss.apply(list).to_dict()
    ends = {name: end for name, _, end in FAULTS}
    wrong: list[str] = []
    kinds = Counter[str]()
    by_hand = 0
    for trial, status, reason, of_person in zip(
        trials.index, trials.status, trials.reason, trials.by_hand, strict=True
    ):
        fault, always = fault_of(seeds[trial])
        kinds[fault or "nothing"] += 1
        if of_person and reason == "by hand":
            by_hand += 1
            continue
        expected = ends[fault] if fault is not None and always else "completed"
        whole = [loss_at(seeds[trial], step) for step in range(1, MAX_STEP + 1)]
        if status != expected or (status == "completed" and losses.get(trial) != whole):
            wrong.append(f"trial {trial} ({fault}, every attempt: {always}) is {status}: {reason}")
    told = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    yield (
        "every trial ended as its fault has it",
        not wrong,
        f"{told}; {by_hand} by hand{'; ' if wrong else ''}" + "; ".join(wrong[:3]),
    )


def _flat(soak: Soak) -> Iterator[Claim]:
    for kind in ("driver", "worker", "fork server"):
        found = []
        for (what, _), samples in soak.memory.samples.items():
            ended, rss_bytes = np.array(samples, float).T
            warm = ended - ended[0] >= WARM_TRIALS
            if what == kind and warm.sum() >= 20 and np.ptp(ended[warm]) >= soak.trials / 2:
                slope, span = np.polyfit(ended[warm], rss_bytes[warm], 1)[0], np.ptp(ended[warm])
                found.append((slope * span, slope, span, rss_bytes[warm].max()))
        if not found:
            yield f"memory of the {kind} is flat", False, "none lived through half of the trials"
            continue
        climb, slope, span, peak = max(found)
        climbs = f"{climb / 2**20:+.1f} MiB over {span:,.0f} trials ({slope:+.0f} bytes a trial)"
        figures = f"{climbs}; at most {peak / 2**20:.0f} MiB; {len(found)} of them"
        yield f"memory of the {kind} is flat", climb <= GROWTH_BYTES, figures


@contextmanager
def small_disk(folder: Path, trials: int) -> Iterator[tuple[Path, bool]]:
    """A tmpfs where this process may mount one, and whether it may; else the folder itself."""
    place = folder / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={trials * DISK_BYTES_A_TRIAL}", "caviar-soak", str(place)],
        capture_output=True,
        check=False,
    )
    try:
        yield place, mounted.returncode == 0
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "--lazy", str(place)], check=True)


def until_gone(soak: Soak) -> Claim:
    """Whether all processes of the soak ended, within a minute."""
    deadline_s = time.monotonic() + 60
    while (left := soak.memory.processes()) and time.monotonic() < deadline_s:
        time.sleep(0.2)
    alive = {pid: kind for pid, kind in left.items() if process_start(pid) is not None}
    return "no process is left", not alive, str(alive or "none")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=TRIALS, help=f"how many (default {TRIALS:,})")
    parser.add_argument("--seed", type=int, help="of the faults; default: one at random, which is printed")
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="on the disk to use (default runs)")
    parser.add_argument("--json", type=Path, help="default: results/soak.json beside this file")
    parser.add_argument("--as", dest="role", choices=["driver", "head"], help=argparse.SUPPRESS)
    for name in ("--path", "--told", "--address"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role == "head":
        return head()
    if arguments.role == "driver":
        return drive(Path(arguments.path), arguments.trials, address=arguments.address, told=Path(arguments.told))
    seed = secrets.randbelow(2**31) if arguments.seed is None else arguments.seed
    print(f"--seed {seed} gives the same faults\n", flush=True)
    with (
        scratch(arguments.folder) as folder,
        small_disk(folder, max(arguments.trials, MEASURED_TRIALS)) as (disk, may_fill),
    ):
        machine = describe(disk)
        begun = time.monotonic()
        soak = Soak(disk, arguments.trials, seed=seed, may_fill=may_fill)
        try:
            soak.run()
        finally:
            soak.close()
        seconds = time.monotonic() - begun
        found = [*claims(soak), until_gone(soak)]
    print_table(
        ["claim", "holds", "figures"], [[name, "yes" if good else "NO", told] for name, good, told in found]
    )
    print(f"\n{arguments.trials:,} trials in {seconds:.0f} s")
    told = [{"claim": name, "holds": bool(good), "figures": figures} for name, good, figures in found]
    memory = [{"process": kind, "trials_and_bytes": samples} for (kind, _), samples in soak.memory.samples.items()]
    record = {"machine": machine, "seed": seed, "seconds": seconds, "claims": told, "memory": memory}
    save("soak", record, arguments.json)
    if not all(good for _, good, _ in found):
        sys.exit(1)
    return None


if __name__ == "__main__":
    main()
