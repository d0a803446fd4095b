from __future__ import annotations

import shutil
import threading

import pytest

import caviar

CUT_OFF = """
import signal

import caviar

FLAG = {flag!r}


def train(trial):
    import pathlib

    for step in trial.steps():
        trial.report(loss=trial.params["lr"] / step)
        if trial.checkpoint_due:
            with trial.checkpoint() as folder:
                (folder / "x").write_text("x")
    if trial.id == 2 and not pathlib.Path(FLAG).exists():
        pathlib.Path(FLAG).touch()
        signal.raise_signal(signal.SIGINT)


sweep = caviar.Sweep(
    train, caviar.Space(lr=caviar.Float(0.1, 1.0)), metric="loss", trials=5, max_step=4, checkpoint_every=2
)
"""


@pytest.fixture
def file(write, tmp_path):
    return write(CUT_OFF.format(flag=str(tmp_path / "flag")))


@pytest.fixture
def cut_off(invoke, file, tmp_path):
    """A sweep that Ctrl-C interrupted in its third trial."""
    out = tmp_path / "out"
    result = invoke(
        "run", file, "--executor", "inline", "--out", out, "--trials", "6", "--seed", "3", "--cpus", "2"
    )
    assert result.exit_code == 130
    assert result.stderr == f"interrupted; everything so far is in {out}; go on with: caviar resume {out}\n"
    return out


def go(invoke, command, folder, *options):
    return invoke(command, folder, "--executor", "inline", *options)


def test_goes_on_with_what_the_command_line_had_said(invoke, cut_off):
    result = go(invoke, "resume", cut_off)
    assert result.exit_code == 0, result.output
    assert "6 trials: 6 completed" in result.stdout
    found = caviar.load(cut_off)
    assert found.status == "finished"
    assert found.declaration["seed"] == 3
    assert found.declaration["resources"]["cpus"] == 2
    assert "declaration_changed" not in set(found.events().kind)


def test_one_that_has_ended_stays_so_and_says_how_to_go_further(invoke, finished):
    result = go(invoke, "resume", finished)
    assert result.exit_code == 0
    assert "has ended already; caviar extend" in result.stderr
    assert len(caviar.load(finished).events().query("kind == 'driver_started'")) == 1


def test_extends_a_finished_one(invoke, file, cut_off):
    go(invoke, "resume", cut_off)
    result = go(invoke, "extend", cut_off, "--trials", "2", "--max-step", "8")
    assert result.exit_code == 0, result.output
    trials = caviar.load(cut_off).trials()
    assert list(trials.steps) == [8] * 8
    assert go(invoke, "resume", cut_off).exit_code == 0, "the file says 5 still, as the command line says 6"


def test_a_changed_file_is_refused_in_one_line(invoke, file, cut_off):
    file.write_text(
        file.read_text().replace("/ step)", "/ (step + 1))").replace("Float(0.1, 1.0)", "Float(0.1, 0.5)")
    )
    result = go(invoke, "resume", cut_off)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(
        f"caviar: error: {cut_off}: this Sweep is not the one that was recorded: space: lr: float("
    )
    assert "code: train: 'trial.report(loss=trial.params[\"lr\"] / step)' -> " in line
    assert line.endswith("goes on with it all the same)")
    result = go(invoke, "resume", cut_off, "--allow-change")
    assert result.exit_code == 0, result.output
    found = caviar.load(cut_off)
    assert set(found.trials().stage) == {0, 1}


def test_the_file_may_have_moved(invoke, file, cut_off, tmp_path):
    moved = tmp_path / "elsewhere.py"
    shutil.move(file, moved)
    result = go(invoke, "resume", cut_off)
    assert result.exit_code == 2
    assert result.stderr == (
        f"caviar: error: {cut_off}: was run from {file}, which is not there any more; "
        "name the file that defines the Sweep with --file FILE[:NAME]\n"
    )
    result = go(invoke, "resume", cut_off, "--file", moved)
    assert result.exit_code == 0, result.output
    assert go(invoke, "resume", cut_off).exit_code == 0, "now it is the file on record"


def test_a_file_in_the_sweep_folder_itself_is_not_run(invoke, file, cut_off):
    (cut_off / "experiment.py").write_text("raise SystemError('it was run')")
    path = cut_off / "sweep.json"
    path.write_text(path.read_text().replace(str(file), str(cut_off / "experiment.py")))
    result = go(invoke, "resume", cut_off)
    assert result.exit_code == 2
    assert "which lies in the sweep folder itself" in result.stderr


def test_a_sweep_that_python_ran_is_found_in_its_file(invoke, write, tmp_path):
    text = (
        CUT_OFF.format(flag=str(tmp_path / "flag"))
        + "\nother = caviar.Sweep(caviar.load, sweep.space, metric='x', trials=1)\n"
    )
    file = write(text, "several.py")
    from caviar.cli.load_file import import_file

    with pytest.raises(KeyboardInterrupt):
        import_file(file).sweep.run(tmp_path / "out", caviar.Inline())
    result = go(invoke, "resume", tmp_path / "out")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("command", "options", "told"),
    [
        ("resume", ["/nowhere"], "/nowhere: no such folder"),
        ("extend", ["/nowhere", "--trials", "2"], "/nowhere: no such folder"),
        ("extend", ["/nowhere"], "extend: by nothing; give --trials N, --max-step N or both"),
        ("extend", ["/nowhere", "--trials", "0"], "Invalid value for '--trials'"),
        (
            "resume",
            ["/nowhere", "--executor", "inline", "--workers", "2"],
            "--workers 2: the inline executor has none",
        ),
    ],
)
def test_mistakes(invoke, command, options, told):
    result = invoke(command, *options)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"caviar: error: {told}")
    assert len(result.stderr.splitlines()) == 1


def test_extends_a_running_one_through_its_inbox(invoke, file, tmp_path, monkeypatch):
    from caviar.cli.load_file import load_sweep

    started, over = threading.Event(), threading.Event()

    def train(trial):
        for _ in trial.steps():
            trial.report(loss=1.0)
            started.set()
            if trial.id == 0:
                over.wait(0.01)

    sweep = load_sweep(str(file)).but(train=train, max_step=10**6, trials=1)
    thread = threading.Thread(target=lambda: sweep.run(tmp_path / "out", caviar.Inline()))
    thread.start()
    try:
        assert started.wait(30)
        result = go(invoke, "extend", tmp_path / "out", "--trials", "2")
        assert result.output == "extended: 2 more trials, 3 in all\n"
        assert result.exit_code == 0
        result = go(invoke, "extend", tmp_path / "out", "--max-step", "5")
        assert result.stderr == "caviar: error: max_step=5: must lie above the sweep's, 1000000\n"
        assert result.exit_code == 1
        result = go(invoke, "resume", tmp_path / "out", "--file", file, "--allow-change")
        assert result.exit_code == 2
        assert "is being driven by process" in result.stderr
        assert invoke("stop", tmp_path / "out").exit_code == 0
    finally:
        over.set()
        thread.join(30)
    assert caviar.load(tmp_path / "out").declaration["trials"] == 3
