"""What `Resources` refuses, and how it is written."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from caviar.errors import UsageError
from caviar.execution.resources import Resources


@pytest.mark.parametrize("name", ["progress_timeout_s", "stop_grace_s"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "60", True])
def test_limits_of_time_are_positive_numbers(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"Resources\({name}=.*: needs a positive number of seconds, or None"):
        Resources(**{name: value})


@pytest.mark.parametrize("name", ["memory_bytes", "memory_growth_bytes", "gpu_memory_bytes"])
@pytest.mark.parametrize("value", [0, -1, 2.5, math.nan, "1G", True])
def test_limits_of_memory_are_whole_numbers(name: str, value: Any) -> None:
    with pytest.raises(
        UsageError, match=rf"Resources\({name}=.*: needs a whole, positive number of bytes, or None"
    ):
        Resources(**{name: value})


@pytest.mark.parametrize(
    "resources",
    [
        Resources(),
        Resources(gpus=0.5, gpu_memory_bytes=2**30, otherwise=Resources(cpus=4, otherwise=Resources(cpus=2))),
        Resources(progress_timeout_s=30, stop_grace_s=None, memory_growth_bytes=None),
        Resources(
            cpus=2, gpus=0.5, memory_bytes=2**30, custom={"tpu": 1}, labels={"kind": "fast"}, fresh_process=True
        ),
    ],
)
def test_what_is_written_can_be_read(resources: Resources) -> None:
    assert Resources.from_dict(json.loads(json.dumps(resources.to_dict()))) == resources


def test_what_was_written_before_there_were_limits_can_be_read() -> None:
    old = {"cpus": 1, "gpus": 0, "memory_bytes": None, "custom": {}, "labels": {}, "fresh_process": True}
    assert Resources.from_dict(old) == Resources(fresh_process=True)


def test_what_trials_leave_behind_is_no_more_than_half_of_what_one_may_use() -> None:
    assert Resources().growth_limit_bytes == 2**30
    assert Resources(memory_bytes=2**30).growth_limit_bytes == 2**29
    assert Resources(memory_bytes=2**40).growth_limit_bytes == 2**30
    assert Resources(memory_bytes=2**30, memory_growth_bytes=None).growth_limit_bytes is None


def test_the_kinds_of_workers_those_to_be_preferred_first() -> None:
    last = Resources(cpus=2)
    middle = Resources(cpus=4, otherwise=last)
    first = Resources(gpus=1, otherwise=middle)
    assert first.kinds == (first, middle, last)


def test_what_stands_otherwise_is_resources_too() -> None:
    with pytest.raises(UsageError, match=r"^Resources\(otherwise=.*: needs a caviar.Resources"):
        Resources(otherwise={"cpus": 1})  # type: ignore[arg-type]


def test_memory_of_a_gpu_needs_one() -> None:
    with pytest.raises(UsageError, match=r"^Resources\(gpu_memory_bytes=1024\): needs gpus"):
        Resources(gpu_memory_bytes=1024)
