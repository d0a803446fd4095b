"""What the benchmarks share: where they ran, how a table is printed, where the JSON goes."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("caviar-sweep", "ray", "optuna", "numpy", "pandas", "pyarrow")


def workers() -> int:
    """How many single-core trials fit side by side: the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(folder: Path) -> dict[str, Any]:
    """The machine, the file system that holds ``folder``, and the versions of what is measured."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpu": _cpu_model(),
        "cores": workers(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "file_system": _file_system(folder),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def peak_memory_bytes() -> int:
    """The most memory that this process ever held. Differences of it show what a run added to the driver."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A folder below ``parent``, for as long as the block runs. Not in /tmp, which may be memory: that would
    make fsync free."""
    parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=parent, prefix="bench-") as folder:
        yield Path(folder).resolve()


def start_ray() -> None:
    """A local Ray with as many cpus as the machine has cores. Its start is never part of a measurement."""
    import ray

    ray.init(
        "local", num_cpus=workers(), include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A Markdown table, aligned for reading in a terminal as well."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, ["-" * width for width in widths], *rows]:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")


def save(name: str, found: dict[str, Any], path: Path | None = None) -> None:
    """Write a benchmark's JSON, to results/<name>.json if no path is given."""
    path = path or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n")
    print(f"\nwritten: {path}")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _file_system(folder: Path) -> str | None:
    """The type of the file system, from the longest mount point that holds the folder. Linux only."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return None
    held = [line.split()[1:3] for line in mounts.read_text().splitlines()]
    found = [(point, kind) for point, kind in held if folder.resolve().is_relative_to(point)]
    return max(found, key=lambda mount: len(mount[0]))[1] if found else None
