"""Figures of memory: what they count, and what is made of them."""

from __future__ import annotations

import gc
import mmap
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from caviar.execution import memory
from caviar.execution.memory import Growth, KernelKills, in_words

MIB = 2**20


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(2**30, "1 GiB"), (int(5.14 * 2**30), "5.1 GiB"), (300 * MIB, "300 MiB"), (4096, "4 KiB"), (0, "0 KiB")],
)
def test_sizes_in_words(size_bytes: int, text: str) -> None:
    assert in_words(size_bytes) == text


def growth(*figures: Mapping[str, int], limit_bytes: int | None = 100) -> Growth:
    """One that sees these figures, one after the other; the last is seen again after the garbage is collected."""
    told: Iterator[Mapping[str, int]] = iter([*figures, figures[-1]])
    return Growth(limit_bytes, figures=lambda: next(told))


def test_growth_is_measured_from_the_second_trial() -> None:
    watch = growth({"memory": 0}, {"memory": 1000}, {"memory": 1100}, {"memory": 1101})
    assert [watch.after_trial() for _ in range(3)] == [None] * 3
    assert watch.after_trial() == "its memory between two trials grew from 1 KiB to 1 KiB, by more than 0 KiB"


def test_each_figure_has_its_own_measure() -> None:
    """CUDA may be started by any trial: what it holds is not seen before."""
    gib = 2**30
    host, both = {"memory": 5 * gib}, {"memory": 5 * gib, "GPU memory": 2 * gib}
    watch = growth(
        host, host, host, both, both, {"memory": 5 * gib, "GPU memory": 4 * gib}, limit_bytes=int(1.5 * gib)
    )
    assert [watch.after_trial() for _ in range(5)] == [None] * 5
    assert watch.after_trial() == (
        "its GPU memory between two trials grew from 2 GiB to 4 GiB, by more than 1.5 GiB"
    )


def test_what_only_waits_for_the_garbage_collector_has_not_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    collected: list[int] = []
    monkeypatch.setattr(gc, "collect", lambda: collected.append(1))
    figures = iter([{"memory": 0}, {"memory": 0}, {"memory": 500}, {"memory": 50}])
    watch = Growth(100, figures=lambda: next(figures))
    assert [watch.after_trial() for _ in range(3)] == [None] * 3
    assert collected == [1]


def test_no_limit_asks_for_no_figures() -> None:
    assert Growth(None, figures=pytest.fail).after_trial() is None


def test_what_stays_is_counted_and_files_in_memory_are_not(tmp_path: Path) -> None:
    before = memory.left_behind()["memory"]
    held = mmap.mmap(-1, 64 * MIB, flags=mmap.MAP_PRIVATE)
    held.write(b"x" * 64 * MIB)
    assert memory.left_behind()["memory"] - before > 60 * MIB
    before = memory.left_behind()["memory"]
    path = tmp_path / "file"
    path.write_bytes(b"x" * 64 * MIB)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert mapped[:: mmap.PAGESIZE].count(b"x") == 64 * MIB // mmap.PAGESIZE
        assert memory.left_behind()["memory"] - before < 16 * MIB
    held.close()


def test_gpu_memory_is_what_torch_has_allocated_on_all_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    initialized = False
    cuda = SimpleNamespace(
        is_initialized=lambda: initialized, device_count=lambda: 2, memory_allocated=lambda device: 10 + device
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert "GPU memory" not in memory.left_behind(), "asking must not start CUDA"
    initialized = True
    assert memory.left_behind()["GPU memory"] == 21


HOG = f"""
import mmap, os, sys
shared = mmap.mmap(-1, {64 * MIB})
shared.write(b"x" * {64 * MIB})
os.setsid()
if not os.fork():
    assert shared[-1:] == b"x" and shared[:: {mmap.PAGESIZE}]
    own = mmap.mmap(-1, {64 * MIB}, flags=mmap.MAP_PRIVATE)
    own.write(b"x" * {64 * MIB})
    print(os.getsid(0), flush=True)
sys.stdin.read()
"""


def test_a_session_is_measured_with_children_and_what_they_share_once() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOG], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        session = int(child.stdout.readline())
        rough, exact = memory.used_bytes(session), memory.used_exactly_bytes(session)
        child.communicate("")
    assert rough > 3 * 60 * MIB, "what both share is in it twice"
    assert 2 * 60 * MIB < exact < rough - 60 * MIB
    assert memory.used_bytes(session) == 0, "they are gone"


def test_the_kernels_kills_are_told_of_where_they_are_known() -> None:
    count: list[int | None] = [3]
    kills = KernelKills(count=lambda: count[0])
    assert kills.verdict() == ""
    count[0] = 4
    kills.look(0.0)
    assert kills.verdict().startswith(" (out of memory: the kernel ended processes")
    kills.look(1.0)
    assert kills.verdict(), "a look that comes at once does not forget it"
    kills.look(memory.RECENT_S)
    assert kills.verdict() == "", "an old one has nothing to do with it"
    count[0] = None
    assert kills.verdict() == " (out of memory?)"


def test_this_kernel_says_so() -> None:
    assert KernelKills().verdict() == ""


def test_a_process_can_offer_itself_to_the_kernel() -> None:
    code = """
from caviar.execution import memory
memory.be_first_to_go()
print(open("/proc/self/oom_score_adj").read())
"""
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert run.stdout.strip() == "1000"
