"""``caviar recheck``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import caviar
from tests.cli.conftest import Invoke

FILE = """
import os
import pathlib
import random
import signal

import caviar

BEST = 0.5


def train(trial):
    top = 1 - (trial.params["x"] - BEST) ** 2 + random.Random(trial.seed).gauss(0, 0.01)
    for step in trial.steps():
        trial.report(score=top * step)
    flag = pathlib.Path(os.environ.get("CAVIAR_TEST_FLAG", "none"))
    if trial.id == 5 and flag.exists():
        flag.unlink()
        signal.raise_signal(signal.SIGINT)


sweep = caviar.Sweep(
    train, caviar.Space(x=caviar.Float(0.0, 1.0)), metric="score", mode="max", trials=30, max_step=4,
    scheduler=caviar.Asha(grace_steps=1),
)
"""

INLINE = ("--executor", "inline")


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory, invoke: Invoke) -> Path:
    folder = tmp_path_factory.mktemp("recheck")
    (folder / "experiment.py").write_text(FILE)
    told = invoke("run", folder / "experiment.py", "--out", folder / "then", "--max-step", 5, *INLINE)
    assert told.exit_code == 0, told.output
    return folder


@pytest.fixture
def then(parent: Path, tmp_path: Path) -> Path:
    """A copy of a sweep, whose file lies beside it."""
    shutil.copytree(parent / "then", tmp_path / "then")
    (tmp_path / "experiment.py").write_text(FILE)
    return tmp_path / "then"


def file(then: Path) -> tuple[str, Path]:
    return "--file", then.with_name("experiment.py")


def test_says_whether_the_choice_holds_and_says_so_again(then: Path, invoke: Invoke) -> None:
    told = invoke("recheck", then, *file(then), *INLINE)
    assert told.exit_code == 0, told.output
    into = then.with_name("then-recheck")
    lines = told.stdout.splitlines()
    top = caviar.load(then).top(5).index.tolist()
    what = f"trials {', '.join(map(str, top))} from 3 seeds and 20 fresh settings"
    assert lines[0] == f"{into}: {what}: 35 trainings of 5 steps, none of them stopped early"
    assert "code, space and versions are those of then, as far as is recorded" in lines
    assert lines[-2] == "so: the choice holds"
    assert lines[-1] == f"everything is in {into}; this again: caviar recheck {then} --out {into}"
    again = invoke("recheck", then, "--out", into)
    assert again.exit_code == 0
    assert again.stdout.splitlines() == lines[-len(again.stdout.splitlines()) :]
    assert invoke("trials", into).exit_code == 0
    assert invoke("best", into).exit_code == 0
    assert invoke("check", into).exit_code == 0


def test_the_answer_is_another_where_the_code_is_another(then: Path, invoke: Invoke) -> None:
    path = then.with_name("experiment.py")
    path.write_text(path.read_text().replace("BEST = 0.5", "BEST = 0.9"))
    told = invoke("recheck", then, *file(then), *INLINE)
    assert told.exit_code == 0, told.output
    assert "code: BEST: 'BEST = 0.5' -> 'BEST = 0.9'" in told.stdout
    assert "that is worse than luck and noise explain" in told.stdout
    assert "so: what does well has moved, and the choice does not hold: sweep again" in told.stdout


def test_one_setting_over_several_seeds(then: Path, invoke: Invoke) -> None:
    told = invoke("recheck", then, "--top", 1, "--fresh", 0, "--seeds", 5, *file(then), *INLINE)
    assert told.exit_code == 0, told.output
    assert "from 5 seeds: 5 trainings of 5 steps" in told.stdout
    assert "nothing was trained beside it" in told.stdout
    told = invoke("recheck", then, "--trial", 3, "--fresh", 1, "--seeds", 2, *file(then), *INLINE)
    assert told.exit_code == 0, told.output
    assert f"{then}-recheck-2: trial 3 from 2 seeds and 1 fresh setting: 3 trainings" in told.stdout


def test_json_has_all_of_it(then: Path, invoke: Invoke) -> None:
    told = invoke("recheck", then, "--top", 2, "--fresh", 2, "--json", *file(then), *INLINE)
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout.splitlines()[-1])
    assert found["kind"] == "recheck"
    assert found["outcome"] == "holds"
    assert len(found["settings"]) == 2
    assert len(found["settings"][0]["now"]) == 3
    single = invoke("recheck", then, "--top", 1, "--fresh", 0, "--seeds", 1, "--json", *file(then), *INLINE)
    assert json.loads(single.stdout.splitlines()[-1])["noise"] == {"sd": None, "df": 0}


@pytest.mark.parametrize("way", ["recheck", "named", "resume"])
def test_goes_on_after_ctrl_c(then: Path, invoke: Invoke, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    then.with_name("flag").touch()
    monkeypatch.setenv("CAVIAR_TEST_FLAG", str(then.with_name("flag")))
    into = then.with_name("then-recheck")
    told = invoke("recheck", then, "--top", 2, "--fresh", 5, *file(then), *INLINE)
    assert told.exit_code == 130
    assert f"go on with: caviar recheck {then} --out {into} --resume" in told.stderr
    told = invoke("recheck", then, "--out", into)
    assert told.exit_code == 0
    assert "of its trials have not ended" in told.stdout
    assert f"{into} was interrupted; go on with: caviar recheck {then} --out {into} --resume" in told.stdout
    if way == "resume":
        told = invoke("resume", into, *INLINE)
        assert told.exit_code == 0, told.output
        assert f"what that means: caviar recheck {then} --out {into}" in told.stdout
        told = invoke("recheck", then, "--out", into)
    elif way == "named":
        told = invoke("recheck", then, "--out", into, "--resume", *INLINE)
    else:
        told = invoke("recheck", then, "--resume", *INLINE)
    assert told.exit_code == 0, told.output
    assert "so: " in told.stdout
    assert "have not ended" not in told.stdout
    assert caviar.load(into).status == "finished"
    assert len(caviar.load(into).trials()) == 11


def test_where_nothing_trains_any_more_the_status_is_1(then: Path, invoke: Invoke) -> None:
    path = then.with_name("experiment.py")
    path.write_text(path.read_text().replace("top = 1", "raise OSError('no data')\n    top = 1"))
    told = invoke("recheck", then, "--top", 1, "--fresh", 1, *file(then), *INLINE)
    assert told.exit_code == 1
    assert "3 of 3 trainings have no value: OSError: no data" in told.stdout
    assert "does not train any more: sweep again" in told.stdout


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--resume",), "then-recheck: there is no recheck to go on with"),
        (("--top", 2, "--trial", 3), "--top and --trial: give one of them"),
        (("--trial", 77), "has 30 trials, and none of this number"),
        (("--out", "{then}", "--top", 2), "is there already, so --top changes nothing; choose another --out"),
        (("--out", "{then}"), "is no recheck; caviar recheck makes one"),
        (("--workers", 2), "the inline executor has none"),
    ],
)
def test_wrong_use_is_told_in_a_line(then: Path, invoke: Invoke, options: tuple[object, ...], told: str) -> None:
    options = tuple(str(option).format(then=then) for option in options)
    result = invoke("recheck", then, *options, *file(then), *INLINE)
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1
    assert told in result.stderr


def test_what_is_left_out_is_told(then: Path, invoke: Invoke) -> None:
    path = then.with_name("experiment.py")
    path.write_text(path.read_text().replace("caviar.Float(0.0, 1.0)", "caviar.Float(0.0, 0.5)"))
    told = invoke("recheck", then, "--top", 3, "--fresh", 0, *file(then), *INLINE)
    assert told.exit_code == 0, told.output
    assert "is left out: today's space does not have its params: param 'x'" in told.stderr
    assert "space: x: float(" in told.stdout
