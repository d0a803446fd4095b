from __future__ import annotations

import sys

import cloudpickle
import pytest

from caviar.cli.load_file import load_sweep
from caviar.errors import UsageError

SWEEP = """
import caviar

def train(trial):
    trial.report(loss=1.0)

def sweep(seed=0):
    return caviar.Sweep(train, caviar.Space(lr=caviar.Float(0.1, 1)), metric="loss", trials=2, seed=seed)
"""


def test_finds_the_only_sweep(write):
    loaded = load_sweep(str(write(SWEEP + "one = sweep()\nalso_one = one\n")))
    assert loaded.trials == 2


def test_finds_the_sweep_by_name(write):
    path = write(SWEEP + "a = sweep(1)\nb = sweep(2)\n")
    assert load_sweep(f"{path}:b").seed == 2


def test_a_name_with_a_colon_that_exists_is_a_file(write):
    assert load_sweep(str(write(SWEEP + "a = sweep(1)\n", "odd:name.py"))).seed == 1


def test_runs_the_file_as_python_would_but_not_as_main(write):
    write("LR = 0.5\n", "neighbour_of_experiment.py")
    path = write(
        SWEEP + "import neighbour_of_experiment\none = sweep(7)\n"
        "if __name__ == '__main__':\n    raise SystemExit('ran as a script')\n"
    )
    assert load_sweep(str(path)).seed == 7
    assert sys.path[0] == str(path.parent)
    assert sys.modules["experiment"].__file__ == str(path)


def test_a_taken_module_name_is_left_alone(write):
    import json

    load_sweep(str(write(SWEEP + "one = sweep()\n", "json.py")))
    assert sys.modules["json"] is json
    assert "__caviar_json__" in sys.modules


def test_functions_of_the_file_travel_by_value(write):
    train = load_sweep(str(write(SWEEP + "one = sweep()\n"))).train
    pickled = cloudpickle.dumps(train)
    del sys.modules["experiment"]
    sys.path.pop(0)
    assert cloudpickle.loads(pickled).__name__ == "train"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\n", ": the file defines no Sweep (one is"),
        (SWEEP + "a = sweep(1)\nb = sweep(2)\n", ": the file defines 2 Sweeps: a, b; say which, as {path}:a"),
        ("import caviar\n\nx = 1 / 0\n", ":3: ZeroDivisionError: division by zero"),
        ("\nx = (\n", ":2: SyntaxError: '(' was never closed"),
        ("import no_such_module_anywhere\n", ":1: ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("def f():\n    raise KeyError\n\nf()\n", ":2: KeyError"),
        ("import sys\nsys.exit(3)\n", ":2: exits while it is loaded"),
        ("import caviar\ncaviar.Float(2, 1)\n", ":2: "),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(write, text, says):
    path = write(text)
    with pytest.raises(UsageError) as caught:
        load_sweep(str(path))
    assert str(caught.value).startswith(f"{path}{says.format(path=path)}")
    assert "\n" not in str(caught.value)
    assert "experiment" not in sys.modules or says.startswith(": ")


def test_an_error_of_caviar_keeps_its_own_words(write):
    with pytest.raises(UsageError) as caught:
        load_sweep(str(write("import caviar\ncaviar.Float(2, 1)\n")))
    assert "SpaceError" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("c", "c is not defined there; the file defines 2 Sweeps: a, b"),
        ("train", "train is no Sweep; the file defines 2 Sweeps: a, b"),
    ],
)
def test_a_wrong_name(write, name, says):
    path = write(SWEEP + "a = sweep(1)\nb = sweep(2)\n")
    with pytest.raises(UsageError) as caught:
        load_sweep(f"{path}:{name}")
    assert str(caught.value) == f"{path}:{name}: {says}"


def test_a_missing_file(tmp_path):
    with pytest.raises(UsageError, match=r"nope\.py: no such file"):
        load_sweep(str(tmp_path / "nope.py"))
    with pytest.raises(UsageError, match=r"nope\.py: no such file"):
        load_sweep(f"{tmp_path / 'nope.py'}:sweep")


def test_a_folder(tmp_path):
    with pytest.raises(UsageError, match="is a folder; give the Python file"):
        load_sweep(str(tmp_path))
