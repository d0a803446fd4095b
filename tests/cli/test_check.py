from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import caviar
from caviar.messages import TrialStarted


@pytest.fixture
def work(tmp_path: Path, finished: Path) -> Path:
    shutil.copytree(finished, tmp_path / "sweep")
    return tmp_path / "sweep"


def damage(work: Path, table: str) -> str:
    part = max((work / table).iterdir())
    part.write_bytes(part.read_bytes()[:-40])
    return f"{table}/{part.name}"


def test_a_sound_folder_is_one_line(invoke, finished):
    result = invoke("check", finished)
    assert result.exit_code == 0
    (line,) = result.output.splitlines()
    assert line.startswith(f"{finished}: sound: ")
    assert "5 trials, " in line


def test_damage_is_a_line_each_with_a_verdict_and_status_1(invoke, work):
    file = damage(work, "metrics")
    (work / "notes.txt").write_text("mine")
    result = invoke("check", work)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[0] == "harmless  notes.txt: not caviar's; everybody passes it over"
    assert lines[1].startswith(f"damage    {file}: damaged: ")
    assert lines[-1].startswith(f"{work}: damaged (2 findings): whole up to commit 0 of ")
    assert lines[-1].endswith("can still be read, by other tools part by part, by caviar after --repair")
    assert invoke("trials", work).exit_code == 2


def test_repair_says_what_it_did_and_leaves_a_folder_that_reads(invoke, work):
    file = damage(work, "metrics")
    result = invoke("check", work, "--repair")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert f"set aside {file}" in lines
    assert f"made      {file}" in lines
    assert any(line.startswith("note      .damaged: repaired: lost were commit") for line in lines)
    assert lines[-1].startswith(f"{work}: sound: ")
    assert (work / ".damaged" / file).exists()
    assert invoke("check", work).exit_code == 0
    assert len(invoke("trials", work, "--json").output.splitlines()) == 5
    assert invoke("events", work, "--kind", "repaired").output.rstrip().endswith("1 file set aside")


def test_lost_events_show_among_the_events(invoke, work):
    damage(work, "events")
    assert invoke("check", work, "--repair").exit_code == 0
    result = invoke("events", work)
    assert result.exit_code == 0
    assert "events of the commits 1 to " in result.output
    for command in ("status", "trials", "curves", "events"):
        assert invoke(command, work).exit_code == 0, command


def test_json_is_an_object_a_finding_and_the_verdict_last(invoke, work):
    file = damage(work, "metrics")
    result = invoke("check", work, "--json")
    assert result.exit_code == 1
    *findings, verdict = map(json.loads, result.output.splitlines())
    assert {"severity", "file", "text"} == set(findings[0])
    assert (findings[0]["severity"], findings[0]["file"]) == ("damage", file)
    assert verdict["verdict"] == "damaged"
    assert verdict["whole_until"] == 0
    assert verdict["trials"] == 5
    assert list(verdict["lost"]["metrics"][0]) == [1, verdict["commits"] - 1]
    assert verdict["lost"]["events"] == []
    *done, verdict = map(json.loads, invoke("check", work, "--repair", "--json").output.splitlines())
    assert {"repair": "set aside", "file": file} in done
    assert verdict["verdict"] == "sound"
    assert verdict["lost"] == {"metrics": [], "events": []}


def test_what_is_no_sweep_is_wrong_use(invoke, tmp_path):
    for path in (tmp_path, tmp_path / "nothing"):
        result = invoke("check", path)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"caviar: error: {path}: ")
        assert result.stdout == ""


def test_a_sweep_that_is_driven_is_checked_but_not_repaired(invoke, tmp_path):
    path = tmp_path / "sweep"
    seen = []

    def train(trial):
        for step in trial.steps():
            trial.report(loss=step)

    def observe(item):
        if isinstance(item, TrialStarted) and item.trial == 1:
            seen.append(invoke("check", path))
            (path / "events" / "stranger").write_bytes(b"")
            seen.append(invoke("check", path, "--repair"))

    space = caviar.Space(x=caviar.Float(0, 1))
    caviar.Sweep(train, space, metric="loss", trials=3, max_step=3).run(path, caviar.Inline(), on_event=observe)
    sound, refused = seen
    assert sound.exit_code == 0
    assert "note      lease.json: held by process" in sound.output
    assert refused.exit_code == 2
    assert (
        "damage    events/stranger: not caviar's: pandas.read_parquet on events/ trips over it" in refused.stdout
    )
    assert "is being driven by process" in refused.stderr
    assert not (path / ".damaged").exists()
    assert invoke("check", path, "--repair").exit_code == 0
