"""Figures of memory, as Linux tells them: what a process uses, what trials leave behind in it, whether the kernel
ran out of it."""

from __future__ import annotations

import gc
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

RECENT_S = 5.0

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def in_words(size_bytes: int) -> str:
    """A size as people write it: ``5.1 GiB``."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:.1f}".removesuffix(".0") + f" {unit}"
    return f"{size_bytes / 1024:.0f} KiB"


# --- a training process, seen from beside it ---------------------------------------------------------


def used_bytes(session: int) -> int:
    """The memory of all processes of a session that nothing else can have: files in memory do not count."""
    return sum(_own_bytes(pid) for pid in _members(session))


def used_exactly_bytes(session: int) -> int:
    """As `used_bytes`, with what several processes share counted once: slower."""
    return sum(_proportional_bytes(pid) for pid in _members(session))


def _members(session: int) -> list[int]:
    found = []
    with os.scandir("/proc") as entries:
        pids = [int(entry.name) for entry in entries if entry.name.isdecimal()]
    for pid in pids:
        with suppress(OSError):  # it ended meanwhile
            stat = Path(f"/proc/{pid}/stat").read_bytes()
            if int(stat.rpartition(b")")[2].split()[3]) == session:
                found.append(pid)
    return found


def _own_bytes(pid: int) -> int:
    return _sum_of(f"/proc/{pid}/status", rb"^Rss(?:Anon|Shmem):\s+(\d+) kB")


def _proportional_bytes(pid: int) -> int:
    return _sum_of(f"/proc/{pid}/smaps_rollup", rb"^Pss_(?:Anon|Shmem):\s+(\d+) kB") or _own_bytes(pid)


def _sum_of(path: str, pattern: bytes) -> int:
    try:
        text = Path(path).read_bytes()
    except OSError:  # it ended meanwhile, or this kernel has no such file
        return 0
    return 1024 * sum(int(found) for found in re.findall(pattern, text, re.MULTILINE))


class KernelKills:
    """Tells whether the kernel ended processes of late, because memory ran out."""

    def __init__(self, *, count: Callable[[], int | None] | None = None) -> None:
        self._count = count or _kernel_kills
        self._before = self._last = self._count()
        """Some `RECENT_S` ago; and then."""
        self._looked_at = -math.inf

    def look(self, now: float) -> None:
        """To be called now and then, with the time in seconds."""
        if now - self._looked_at >= RECENT_S:
            self._looked_at = now
            self._before, self._last = self._last, self._count()

    def verdict(self) -> str:
        """What to add to the words that a process was killed."""
        now = self._count()
        if now is None or self._before is None:
            return " (out of memory?)"
        return (
            " (out of memory: the kernel ended processes of this machine just then)" if now > self._before else ""
        )


def _kernel_kills() -> int | None:
    """How many processes the kernel has ended so far because memory ran out; None where it does not say."""
    try:
        counted = re.search(rb"^oom_kill (\d+)$", Path("/proc/vmstat").read_bytes(), re.MULTILINE)
    except OSError:
        return None
    return None if counted is None else int(counted[1])


# --- a training process, seen from within ------------------------------------------------------------


def be_first_to_go() -> None:
    """When memory runs out the kernel shall end this process, and not the one that supervises it, or Ray's."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def left_behind() -> dict[str, int]:
    """The memory that this process holds now, in bytes, by where. Cheap enough to be asked after every trial."""
    figures: dict[str, int] = {}
    with suppress(OSError):
        resident, shared = os.pread(_statm(), 128, 0).split()[1:3]
        figures["memory"] = (int(resident) - int(shared)) * _PAGE_BYTES  # files in memory are no burden
    torch = sys.modules.get("torch")
    # asking must not start CUDA. What is allocated counts: the cache beside it ("reserved") keeps the size of the
    # largest trial by design.
    if torch is not None and torch.cuda.is_initialized():
        figures["GPU memory"] = sum(map(torch.cuda.memory_allocated, range(torch.cuda.device_count())))
    return figures


_files: dict[int, int] = {}


def _statm() -> int:
    """This process's statm, kept open: opening it is what costs. A forked process needs its own."""
    pid = os.getpid()
    if pid not in _files:
        _files[pid] = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    return _files[pid]


class Growth:
    """Notices memory that grows from trial to trial.

    A process's first trial brings in libraries and fills caches. So what is left after its second is the measure,
    and more than ``limit_bytes`` above it is growth; None: nothing is.
    """

    def __init__(self, limit_bytes: int | None, *, figures: Callable[[], Mapping[str, int]] = left_behind) -> None:
        self._limit_bytes = limit_bytes
        self._figures = figures
        self._seen: set[str] = set()
        self._base: dict[str, int] = {}

    def after_trial(self) -> str | None:
        """Take the figures. Returns what has grown, in words, or None."""
        if self._limit_bytes is None:
            return None
        figures = self._figures()
        if self._grown(figures) is None:
            return None
        gc.collect()  # what only waits for it has not grown
        return self._grown(self._figures())

    def _grown(self, figures: Mapping[str, int]) -> str | None:
        assert self._limit_bytes is not None
        for name, size_bytes in figures.items():
            base = self._base.get(name)
            if base is None:
                if name in self._seen:
                    self._base[name] = size_bytes
                self._seen.add(name)
            elif size_bytes - base > self._limit_bytes:
                return (
                    f"its {name} between two trials grew from {in_words(base)} to {in_words(size_bytes)}, "
                    f"by more than {in_words(self._limit_bytes)}"
                )
        return None
