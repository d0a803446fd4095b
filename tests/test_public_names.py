"""What `import caviar` shows, and what it costs."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from typing import Any

import pytest

import caviar

HEAVY = {"ray", "numpy", "pandas", "pyarrow", "scipy", "rich", "click", "torch"}


def run(code: str) -> Any:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_what_is_visible_is_what_is_public() -> None:
    visible = run("import json, caviar; print(json.dumps([n for n in dir(caviar) if not n.startswith('_')]))")
    assert sorted(visible) == sorted(caviar.__all__)
    assert len(set(caviar.__all__)) == len(caviar.__all__)


def test_importing_everything_gives_exactly_the_public_names() -> None:
    names = run("import json; d = {}; exec('from caviar import *', d); print(json.dumps(sorted(d)))")
    assert {name for name in names if name != "__builtins__"} == set(caviar.__all__)


def test_the_type_checker_sees_the_same_names() -> None:
    source = inspect.getsource(caviar)
    declared = {line.rpartition(" as ")[2] for line in source.splitlines() if line.startswith("    from caviar")}
    assert declared == set(caviar.__all__)


@pytest.mark.parametrize("name", caviar.__all__)
def test_each_name_is_there_documented_and_called_what_it_is_called(name: str) -> None:
    thing = getattr(caviar, name)
    first = (inspect.getdoc(thing) or "").splitlines()[:1]
    assert first, f"caviar.{name} has no docstring"
    assert first[0].endswith((".", ":", ",")) or len(first[0]) > 60, first
    assert not first[0].startswith(f"{name}("), f"caviar.{name} has the docstring that dataclass made up"
    assert thing.__name__.rpartition(".")[2] == name


@pytest.mark.parametrize("name", [name for name in caviar.__all__ if inspect.isclass(getattr(caviar, name))])
def test_public_methods_are_documented(name: str) -> None:
    for member, what in vars(getattr(caviar, name)).items():
        plain = inspect.isfunction(what) or isinstance(what, property | classmethod | staticmethod)
        if plain and not member.startswith("_"):
            assert inspect.getdoc(getattr(getattr(caviar, name), member)), f"caviar.{name}.{member}"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'caviar' has no attribute 'Swep'"):
        _ = caviar.Swep  # type: ignore[attr-defined]


def test_import_caviar_loads_nothing_heavy() -> None:
    loaded = run("import json, sys, caviar; print(json.dumps(sorted(sys.modules)))")
    assert HEAVY.isdisjoint(loaded)
