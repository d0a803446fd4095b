"""Shares of GPUs, as a machine tells of them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from caviar.execution import gpus
from caviar.execution.resources import Resources

GIB = 2**30
TOLD = "0, GPU-aaaa, 81920\n1, GPU-bbbb, 16384\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with two GPUs, of 80 and 16 GiB, as its `nvidia-smi` tells."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{TOLD}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return program


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("share", "visible", "wanted", "fits"),
    [
        (1, "0", 80 * GIB, True),
        (1, "0", 81 * GIB, False),
        (0.25, "0", 20 * GIB, True),
        (0.25, "0", 21 * GIB, False),
        (0.25, "GPU-aaaa", 21 * GIB, False),
        (0.25, "1", 20 * GIB, False),
        (0.25, "GPU-bbbb", 4 * GIB, True),
        (2, "0,1", 16 * GIB, True),
        (2, "0,1", 17 * GIB, False),
        (1, None, 16 * GIB, True),
    ],
)
def test_a_share_that_is_too_small_is_refused(share: float, visible: str | None, wanted: int, fits: bool) -> None:
    resources = Resources(gpus=share, gpu_memory_bytes=wanted)
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    told = gpus.too_small(resources, node="here", environment=environment)
    assert told is None if fits else re.match(r"node here: (0.25 of )?a GPU holds", str(told))


@pytest.mark.usefixtures("machine")
def test_the_refusal_says_what_would_do() -> None:
    told = gpus.too_small(
        Resources(gpus=0.25, gpu_memory_bytes=30 * GIB), node="n1", environment={"CUDA_VISIBLE_DEVICES": "0"}
    )
    assert told == (
        "node n1: 0.25 of a GPU holds 20 GiB, and a trial needs gpu_memory_bytes of 30 GiB: gpus=0.5 would do"
    )
    told = gpus.too_small(Resources(gpus=1, gpu_memory_bytes=300 * GIB), node="n1", environment={})
    assert told is not None
    assert told.endswith("it needs larger GPUs")


def test_a_machine_that_does_not_tell_refuses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.too_small(Resources(gpus=1, gpu_memory_bytes=300 * GIB), node="n1", environment={}) is None


@pytest.mark.parametrize("told", ["No devices were found", "0, GPU-aaaa", "0, GPU-aaaa, [N/A]", ""])
def test_what_nobody_understands_refuses_nothing(machine: Path, told: str) -> None:
    machine.write_text(f"#!/bin/sh\necho '{told}'\n")
    assert gpus.too_small(Resources(gpus=1, gpu_memory_bytes=300 * GIB), node="n1", environment={}) is None


def test_a_broken_driver_refuses_nothing(machine: Path) -> None:
    machine.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed' >&2\nexit 9\n")
    assert gpus.too_small(Resources(gpus=1, gpu_memory_bytes=300 * GIB), node="n1", environment={}) is None


def test_pytorch_is_held_to_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    cuda: Any = SimpleNamespace(is_available=lambda: True, set_per_process_memory_fraction=shares.append)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    gpus.keep_to_share(Resources(gpus=0.25))
    gpus.keep_to_share(Resources(gpus=1, gpu_memory_bytes=GIB))
    assert shares == [], "only who says what a trial needs has it held to that"
    gpus.keep_to_share(Resources(gpus=0.25, gpu_memory_bytes=GIB))
    assert shares == [0.25]
    cuda.is_available = lambda: False
    gpus.keep_to_share(Resources(gpus=0.25, gpu_memory_bytes=GIB))
    assert shares == [0.25]
