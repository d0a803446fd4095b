"""What a training function is made of, and what of it has changed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from caviar.fingerprint import differences, source_file, sources

TASK = """
import math
import numpy as np
import {helpers}
from {helpers} import loss

BATCH = 32
PATH = object()

class Base:
    def width(self):
        return 3

class Model(Base):
    def step(self):
        return helper(self.width())

def helper(x):
    return x * BATCH

def unused():
    return 1

def train(trial):
    model = Model()
    inner = [loss(n) for n in range(3)]
    return model.step() + math.pi + np.pi + {helpers}.other()
"""
HELPERS = """
def loss(x):
    return x

def other():
    return deeper()

def deeper():
    return 2
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ModuleType]]:
    monkeypatch.syspath_prepend(str(tmp_path))
    loaded: list[str] = []

    def make(name: str, text: str) -> ModuleType:
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        loaded.append(name)
        spec.loader.exec_module(module)
        return module

    yield make
    for name in loaded:
        sys.modules.pop(name, None)


def test_everything_of_the_users_own_that_it_refers_to_is_in_it(load: Callable[..., ModuleType]) -> None:
    load("helpers_of_it", HELPERS)
    task = load("a_task", TASK.format(helpers="helpers_of_it"))
    found = sources(task.train, None)
    assert set(found) == {
        "train", "Model", "Base", "helper", "BATCH",
        "helpers_of_it:loss", "helpers_of_it:other", "helpers_of_it:deeper",
    }  # fmt: skip
    assert found["helper"] == "def helper(x):\n    return x * BATCH\n"
    assert found["BATCH"] == "BATCH = 32"


def test_what_has_changed_is_told(load: Callable[..., ModuleType]) -> None:
    load("helpers_b", HELPERS)
    before = sources(load("task_b", TASK.format(helpers="helpers_b")).train)
    text = TASK.format(helpers="helpers_b").replace("BATCH = 32", "BATCH = 64").replace("return 3", "return 4")
    after = sources(load("task_b", text.replace("def unused", "def unused_now")).train)
    assert differences(before, before) == []
    assert differences(before, after) == [
        "code: BATCH: 'BATCH = 32' -> 'BATCH = 64'",
        "code: Base: 'return 3' -> 'return 4'",
    ]
    assert differences({"a:f": "x"}, {"a:g": "x"}) == ["code: a:f is gone", "code: a:g is new"]
    assert differences({"a:f": "x\ny\n"}, {"a:f": "x\nz\nw\n"}) == ["code: a:f: 2 lines, first 'y' -> 'z'"]


def test_partials_methods_and_callables_are_what_they_call(load: Callable[..., ModuleType]) -> None:
    task = load(
        "callables",
        """
from functools import partial

def train(trial, width):
    return width

class Task:
    def __call__(self, trial):
        return 1

    def method(self, trial):
        return 2

part = partial(train, width=3)
task = Task()
typed = eval("lambda trial: 1")
""",
    )
    assert set(sources(task.part)) == {"train"}
    assert set(sources(task.task)) == {"Task"}
    assert set(sources(task.task.method)) == {"Task.method"}
    assert list(sources(task.typed)) == ["<lambda>"]
    assert source_file(task.typed) is None
    assert source_file(task.part) == str(Path(task.__file__ or "").resolve())
