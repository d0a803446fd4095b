from __future__ import annotations

import pytest

from caviar.cli.settings import parse_changes
from caviar.errors import UsageError


@pytest.mark.parametrize(
    ("word", "name", "value"),
    [
        ("lr=0.01", "lr", 0.01),
        ("lr=1e-3", "lr", 1e-3),
        ("lr=.5", "lr", 0.5),
        ("lr=-2", "lr", -2),
        ("hidden=64", "hidden", 64),
        ("nesterov=true", "nesterov", True),
        ("nesterov=false", "nesterov", False),
        ("decay=null", "decay", None),
        ("optimizer=adam", "optimizer", "adam"),
        ("model=a_1", "model", "a_1"),
        ("model=1_000", "model", "1_000"),
        ('model="64"', "model", "64"),
        ('model="nan"', "model", "nan"),
        ("model=a=b", "model", "a=b"),
        ("optim.lr=1", "optim.lr", 1),
        ("lr*=0.5", "lr", "*=0.5"),
        ("lr/=2", "lr", "/=2"),
        ("lr+=-1", "lr", "+=-1"),
        ("a-b-=0.5", "a-b", "-=0.5"),
    ],
)
def test_a_word_is_a_change(word, name, value):
    changes = parse_changes([word])
    assert changes == {name: value}
    assert type(changes[name]) is type(value)


def test_several_words():
    assert parse_changes(["lr*=0.5", "momentum=0.95"]) == {"lr": "*=0.5", "momentum": 0.95}
    assert parse_changes([]) == {}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["lr"], "lr: needs a value, as in lr=0.01"),
        ([""], ": needs a value, as in lr=0.01"),
        (["=5"], "=5: needs a name before =, as in lr=0.5"),
        (["*=5"], "*=5: needs a name before *=, as in lr*=0.5"),
        (["lr="], "lr=: needs a value after ="),
        (["lr*="], "lr*=: needs a value after *="),
        (["lr*=half"], "lr*=half: needs a number after *="),
        (["lr*=true"], "lr*=true: needs a number after *="),
        (["lr=nan"], "lr=nan: needs a finite number; a word of these letters goes in double quotes"),
        (["lr*=inf"], "lr*=inf: needs a finite number; a word of these letters goes in double quotes"),
        (["lr=1e999"], "lr=1e999: needs a finite number; a word of these letters goes in double quotes"),
        (['lr="a'], 'lr="a: what begins with a double quote must be JSON text: '),
        (["lr=1", "lr*=2"], "lr*=2: lr is given twice"),
        (["n=" + "9" * 400], f"n={'9' * 58}...: needs a finite number"),
    ],
)
def test_what_is_no_change_is_told_in_one_line(words, told):
    with pytest.raises(UsageError) as raised:
        parse_changes(words)
    assert str(raised.value).startswith(told)
    assert "\n" not in str(raised.value)
