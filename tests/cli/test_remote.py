"""``--address``: what goes there, what comes back, and what is shown, without a cluster."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from rich.console import Console
from rich.text import Text

import caviar
from caviar.cli import afar, answering, logs, main
from caviar.cli import jobs as cli_jobs
from caviar.cli.app import COMMANDS
from caviar.cli.follow import Follower
from caviar.cli.pictures import Drawn, OverdueError, Pictures
from caviar.errors import ClusterError
from caviar.jobs import far_end, log, query
from caviar.jobs.client import JobInfo, Jobs
from caviar.jobs.query import Manner, Query
from caviar.jobs.records import Kind, Record, from_pieces, to_line
from tests.cli.beside import running
from tests.cli.test_live import moment
from tests.jobs.dashboards import Dashboard, know_nothing_of_ray, serving

SPACE = caviar.Space(lr=caviar.Float(0.1, 1.0))
FAR = ["status", "watch", "events", "trials", "best", "curves", "set", "pause", "unpause", "rollback", "stop"]


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    know_nothing_of_ray(monkeypatch, tmp_path)


@pytest.fixture
def dashboard() -> Dashboard:
    return Dashboard()


@pytest.fixture
def address(dashboard: Dashboard) -> Iterator[str]:
    with serving(dashboard) as url:
        yield url


def words(*args: str, folder: str = "/far/away") -> list[str]:
    """The command line that goes to the cluster for one that is given here."""
    group = click.Context(main)
    command = main.get_command(group, args[0])
    assert command is not None
    return afar.words(command.make_context(args[0], list(args[1:]), parent=group), folder)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (["status", "runs/x"], ["status"]),
        (["status", "--json", "runs/x", "--address", "http://head"], ["status", "--json"]),
        (["best", "runs/x", "--csv", "--top", "3"], ["best", "--top=3", "--csv"]),
        (
            ["events", "runs/x", "--kind", "adjusted", "--kind=paused", "--trial", "0"],
            ["events", "--trial=0", "--kind=adjusted", "--kind=paused"],
        ),
        (["trials", "runs/x", "--sort", "-lr"], ["trials", "--sort=-lr"]),
        (["stop", "runs/x", "--timeout", "1.5", "--json"], ["stop", "--timeout=1.5", "--json"]),
    ],
)
def test_the_same_command_line_goes_to_the_cluster(given: list[str], sent: list[str]) -> None:
    assert words(*given) == [*sent, "--", "/far/away"]


def test_it_goes_there_with_how_lines_are_written(own_logging) -> None:
    given = ["status", "runs/x", "--json", "--log-format", "json", "--debug"]
    logs.configure(debug=True, as_json=True)
    assert words(*given) == ["status", "--json", "--log-format=json", "--debug", "--", "/far/away"]
    logs.configure(debug=False, as_json=False)
    assert words("status", "runs/x", "--log-format", "text") == ["status", "--", "/far/away"]


def test_what_is_set_goes_to_the_cluster_as_it_is_given() -> None:
    given = ["set", "runs/x", "lr*=0.5", "--trial", "3", "-m", "--too jumpy", "--dry-run", "n=-1"]
    sent = ["set", "--trial=3", "--note=--too jumpy", "--dry-run", "--", "s3://bucket/x", "lr*=0.5", "n=-1"]
    assert words(*given, folder="s3://bucket/x") == sent


def test_the_commands_that_have_an_address() -> None:
    def takes_url(name: str) -> bool:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        return any(
            "--address" in param.opts and param.make_metavar(click.Context(command)) == "URL"
            for param in command.params
            if isinstance(param, click.Option)
        ) and any(param.name == "folder" for param in command.params)

    assert [name for name in COMMANDS if takes_url(name)] == FAR


def test_wrong_use_is_found_here(invoke) -> None:
    result = invoke("status", "runs/x", "--address", "10.0.0.1:6379")
    assert result.exit_code == 2
    assert "http://10.0.0.1:8265" in result.stderr
    result = invoke("status", "runs/x", "--no-such", "--address", "http://127.0.0.1:1")
    assert result.exit_code == 2
    assert "--no-such" in result.stderr


def test_records_come_back_as_they_were_sent() -> None:
    records = [
        Record(Kind.OUT, "größer\n\r\x1b[1m\0".encode()),
        Record(Kind.ERR, b""),
        Record(Kind.OUT, bytes(range(256)) * 1000),
        Record(Kind.END, b"0"),
    ]
    text = (
        "what Ray says\n"
        + "".join(map(to_line, records[:2]))
        + "no end of line "
        + "".join(map(to_line, records[2:]))
    )
    for size in (1, 7, 10_000, len(text)):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert list(from_pieces(pieces)) == ["what Ray says", *records]


def test_what_only_looks_like_a_record_is_none() -> None:
    lines = ["caviar-answer:", "caviar-answer:out", "caviar-answer:out:====", "caviar-answer:no:eJwDAAAAAAE="]
    assert list(from_pieces(["\n".join(lines)])) == lines


def answered(capfd: pytest.CaptureFixture[str], *args: object, manner: Manner | None = None) -> list[Record]:
    """What the far end sends for a command line."""
    end = answering.answer([str(arg) for arg in args], manner or Manner())
    return [*(record for record in from_pieces([capfd.readouterr().out]) if isinstance(record, Record)), end]


def text_of(records: list[Record], kind: Kind) -> str:
    return b"".join(record.data for record in records if record.kind == kind).decode()


@pytest.mark.parametrize("command", [["status"], ["trials", "--csv"], ["best", "--json"], ["curves"], ["watch"]])
def test_the_far_end_answers_as_the_command_line_does_here(capfd, invoke, finished, command) -> None:
    here = invoke(*command, finished)
    records = answered(capfd, *command, finished)
    assert text_of(records, Kind.OUT) == here.stdout
    assert text_of(records, Kind.ERR) == here.stderr
    assert (records[-1].kind, int(records[-1].data)) == (Kind.END, here.exit_code)
    assert len(records) == 2  # a table is not sent line by line


def test_the_far_end_runs_in_rays_python_where_the_first_one_found_has_nothing(monkeypatch, finished) -> None:
    became = []
    monkeypatch.setattr(far_end, "rays_python", lambda: "/opt/ray/bin/python")
    monkeypatch.setattr(far_end, "SURE_TO_BE_THERE", "no_such_module")
    monkeypatch.setattr(os, "execv", lambda path, words: became.append(words) or sys.exit(0))
    with pytest.raises(SystemExit):
        far_end.main(["status", "--", "/x"])
    assert became == [["/opt/ray/bin/python", "-m", "caviar.jobs.far_end", "status", "--", "/x"]]


def test_the_far_end_as_the_cluster_starts_it(finished) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "caviar.jobs.far_end", "best", "--json", "--", str(finished)],
        env={**os.environ, "CAVIAR_ANSWERING": "{}"},
        capture_output=True,
        text=True,
    )
    out, end = from_pieces([told.stdout])
    assert told.stderr == ""
    assert isinstance(out, Record)
    assert json.loads(out.data)["trial"] == 4
    assert end == Record(Kind.END, b"0")


def test_the_far_end_tells_errors_and_their_status(capfd, invoke, tmp_path) -> None:
    here = invoke("status", tmp_path / "nothing")
    records = answered(capfd, "status", tmp_path / "nothing")
    assert (text_of(records, Kind.ERR), int(records[-1].data)) == (here.stderr, here.exit_code) != ("", 0)


def test_the_id_of_a_job_without_its_cluster_is_told(capfd, invoke, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    hint = "; for the id of a job, give its cluster with --address\n"
    assert invoke("status", "digits-7f3a2c").stderr == f"caviar: error: digits-7f3a2c: no such folder{hint}"
    assert hint not in invoke("status", "runs/digits").stderr
    (tmp_path / "digits").mkdir()
    assert hint not in invoke("status", "digits").stderr
    monkeypatch.setenv("CAVIAR_ANSWERING", "{}")
    far = text_of(answered(capfd, "status", "digits-7f3a2c"), Kind.ERR)
    assert far == "caviar: error: digits-7f3a2c: no such folder\n"


def test_the_far_end_draws_for_a_terminal_of_the_size_asked_for(capfd, finished) -> None:
    records = answered(capfd, "watch", finished, manner=Manner(terminal=True, columns=60, lines=12))
    pictures = [record.data.decode() for record in records if record.kind == Kind.PICTURE]
    assert [record.kind for record in records] == [Kind.PICTURE] * len(pictures) + [Kind.END]
    for picture in pictures:
        lines = Text.from_ansi(picture).plain.splitlines()
        assert len(lines) <= 12
        assert max(map(len, lines)) <= 60
        assert "5/5 tr" in lines[0], "a long path leaves room for no more"


def test_a_live_view_has_an_end_that_is_none_of_the_sweep(capfd, tmp_path) -> None:
    def waits(trial, over):
        for _ in trial.steps():
            trial.report(loss=1.0)
            if over.wait(0.01):
                return

    with running(tmp_path / "out", waits, space=SPACE, trials=1):
        records = answered(capfd, "watch", tmp_path / "out", manner=Manner(terminal=True, life_s=0.0))
    assert [record.kind for record in records] == [Kind.PICTURE, Kind.AGAIN]


def test_the_same_picture_is_sent_once() -> None:
    sent: list[str] = []
    drawn = Drawn(sent.append, columns=80, lines=24, life_s=None)
    drawn.show(moment(running=1))
    drawn.show(moment(running=1))
    assert len(sent) == 1
    drawn.show(moment(running=2))
    assert len(sent) == 2
    drawn.close()
    assert "running\n" not in Text.from_ansi(sent[-1]).plain  # the last one is without the trials under way


def test_a_picture_that_is_sent_is_shown_as_it_was_drawn(finished) -> None:
    sent: list[str] = []
    drawn = Drawn(sent.append, columns=70, lines=20, life_s=None)
    drawn.show(Follower(finished).look())
    screen = Console(file=io.StringIO(), force_terminal=True, width=70, height=20, color_system="truecolor")
    with Pictures(screen) as pictures:
        assert pictures.size == (70, 20)
        pictures.show(sent[0])
    assert isinstance(screen.file, io.StringIO)
    shown = Text.from_ansi(screen.file.getvalue()).plain
    for line in Text.from_ansi(sent[0]).plain.splitlines():
        assert line.rstrip() in shown


def test_a_finished_sweep_is_never_overdue(finished) -> None:
    drawn = Drawn(lambda picture: None, columns=70, lines=20, life_s=-1.0)
    drawn.show(Follower(finished).look())
    with pytest.raises(OverdueError):
        drawn.show(moment())


def test_a_query_takes_over_what_its_sweep_needs(monkeypatch: pytest.MonkeyPatch, address, dashboard) -> None:
    given = {"env_vars": {"AWS_REGION": "here"}, "pip": {"packages": ["obstore"]}, "working_dir": "gcs://x.zip"}
    dashboard.job = {**dashboard.job, "runtime_env": given}
    sent = {}
    monkeypatch.setattr(Jobs, "submit", lambda self, entrypoint, **more: sent.update(more, line=entrypoint) or "q")
    jobs = Jobs(address)
    sweep = query.sweep_job(jobs.list(), "/shared/runs/digits")
    assert sweep == query.sweep_job(jobs.list(), "job-1")
    query.start(jobs, ["status", "--", "/a b"], folder="/a b", sweep=sweep, manner=Manner(columns=99))
    environment = sent["runtime_env"]
    assert sent["line"].endswith(" -m caviar.jobs.far_end status -- '/a b'")
    assert sent["metadata"]["caviar_kind"] == "query"
    assert environment["pip"] == {"packages": ["obstore"]}
    assert "working_dir" not in environment
    assert environment["py_modules"] == [str(Path(caviar.__file__).parent)]
    assert environment["env_vars"]["AWS_REGION"] == "here"
    assert json.loads(environment["env_vars"]["CAVIAR_ANSWERING"])["columns"] == 99
    assert query.sweep_job(jobs.list(), "/elsewhere") is None


@pytest.mark.parametrize(
    ("log_text", "exit_code", "told"),
    [
        (b"ModuleNotFoundError: No module named 'pyarrow'\n", 1, "Python on the cluster has no pyarrow"),
        (b"sh: 1: exec: : Permission denied\n", 127, 'the cluster finds no "python"'),
        (b"Killed\n", 137, "job job-1 failed: Killed"),
    ],
)
def test_a_query_without_an_answer_says_why(address, dashboard, log_text, exit_code, told) -> None:
    dashboard.log = log_text
    dashboard.job = {**dashboard.job, "driver_exit_code": exit_code}
    dashboard.end("FAILED")
    with pytest.raises(ClusterError, match=told):
        list(Query(Jobs(address), "job-1").records())


def test_queries_that_have_ended_are_forgotten(address, dashboard) -> None:
    dashboard.job = {**dashboard.job, "metadata": {"caviar_kind": "query"}}
    jobs = Jobs(address)
    [under_way] = jobs.list()
    dashboard.end()
    [ended] = jobs.list()

    def later(s: float) -> JobInfo:
        return dataclasses.replace(under_way, id="later", start_time_s=(ended.end_time_s or 0) + s)

    # whatever the time is here, far after all of these
    for listed in ([], [under_way], [ended], [later(59), ended], [later(61), under_way]):
        query.forget(jobs, listed)
    assert "DELETE /api/jobs/job-1" not in dashboard.seen
    query.forget(jobs, [later(61), ended])
    assert "DELETE /api/jobs/job-1" in dashboard.seen


def test_jobs_of_a_cluster(invoke, address, dashboard) -> None:
    dashboard.end()
    head, row = invoke("jobs", "--address", address).stdout.splitlines()
    assert head.split() == ["job", "status", "time", "submitted", "sweep"]
    assert row.startswith("job-1  succeeded  1 min  2023-11-1")
    assert row.endswith("  /shared/runs/digits")
    found = json.loads(invoke("jobs", "--address", address, "--json").stdout)
    assert (found["id"], found["folder"], found["status"]) == ("job-1", "/shared/runs/digits", "succeeded")
    assert (found["start_time"], found["exit_code"]) == ("2023-11-14T22:13:20+00:00", None)


def test_jobs_that_are_not_sweeps_are_shown_with_all(invoke, address, dashboard) -> None:
    dashboard.job = {**dashboard.job, "metadata": None}
    assert invoke("jobs", "--address", address).stdout.startswith("no sweep was submitted to ")
    assert invoke("jobs", "--address", address, "--all").stdout.splitlines()[1].endswith("  caviar run")
    result = invoke("cancel", "job-1", "--address", address)
    assert (result.exit_code, "POST /api/jobs/job-1/stop" in dashboard.seen) == (2, False)
    assert "ray job stop job-1" in result.stderr


def test_the_address_may_stand_in_the_environment(invoke, monkeypatch, address) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert "job-1" in invoke("jobs").stdout


def test_the_log_of_a_job(invoke, monkeypatch, address, dashboard) -> None:
    for name in ("INTERVAL_S", "SILENCE_S"):
        monkeypatch.setattr(log, name, 0.01)
    dashboard.log = b"first\nlast\n"
    result = invoke("logs", "job-1", "--address", address)
    assert (result.exit_code, result.stdout) == (0, "first\nlast\n")
    dashboard.end()
    assert invoke("logs", "job-1", "--address", address, "--follow").stdout == "first\nlast\n"
    dashboard.job["driver_exit_code"] = 1
    dashboard.end("FAILED")
    result = invoke("logs", "job-1", "--address", address, "-f")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "first\nlast\n", "job-1 failed\n")
    assert invoke("logs", "job-2", "--address", address).exit_code == 2


def test_who_follows_a_log_is_told_what_the_job_could_not_say(invoke, address, dashboard) -> None:
    dashboard.job["metadata"]["caviar_command"] = "caviar submit digits.py --out /shared/runs/digits"
    dashboard.job["driver_exit_code"] = -9
    dashboard.end("FAILED")
    result = invoke("logs", "job-1", "--address", address, "-f")
    assert result.exit_code == 1
    assert result.stderr == (
        "the driver of job job-1 was ended by SIGKILL (where nobody did that, for want of memory); what was "
        "recorded is in /shared/runs/digits; go on with: caviar submit digits.py --out /shared/runs/digits\n"
    )
    dashboard.job["metadata"] = {}
    assert invoke("logs", "job-1", "--address", address, "-f").stderr == "job-1 failed\n"


def test_who_leaves_a_log_is_told_that_the_job_goes_on(invoke, monkeypatch, address) -> None:
    def follow(jobs, job):
        yield "first\n"
        raise KeyboardInterrupt

    monkeypatch.setattr(Jobs, "follow", follow)
    result = invoke("logs", "job-1", "--address", address, "-f")
    assert (result.exit_code, result.stdout) == (130, "first\n")
    assert result.stderr.startswith(f"job job-1 goes on; caviar logs job-1 --address {address} --follow follows")


@pytest.mark.parametrize("command", [None, "caviar submit digits.py --out /shared/runs/digits"])
def test_a_job_that_is_cancelled_is_told_how_to_go_on(invoke, address, dashboard, command) -> None:
    if command is not None:
        dashboard.job["metadata"]["caviar_command"] = command
    dashboard.on_stop = lambda: dashboard.end("STOPPED")
    result = invoke("cancel", "job-1", "--address", address)
    assert result.exit_code == 0
    assert result.stdout.startswith("job-1 stopped within ")
    assert "the sweep is in /shared/runs/digits" in result.stdout
    assert (command or "submit it again with the same --out") in result.stdout
    again = invoke("cancel", "job-1", "--address", address)
    assert (again.exit_code, again.stdout) == (0, "job-1 has ended already: stopped\n")


def test_a_job_that_has_not_begun_is_not_waited_for_as_one_that_has(
    invoke, monkeypatch, address, dashboard
) -> None:
    monkeypatch.setattr(cli_jobs, "UNBEGUN_S", 0.0)
    dashboard.job |= {"driver_node_id": None, "status": "PENDING", "runtime_env": {"pip": {"packages": ["x"]}}}
    dashboard.on_stop = lambda: None
    result = invoke("cancel", "job-1", "--address", address)
    assert result.exit_code == 1
    first, last = result.stderr.splitlines()
    assert first == (
        "job-1 has no driver yet: the cluster installs its packages (pip); it ends as soon as that is over"
    )
    assert last.startswith("job-1 was asked to end, and is pending yet: ")


def test_a_job_that_does_not_end(invoke, monkeypatch, address, dashboard) -> None:
    monkeypatch.setattr(cli_jobs, "BEYOND_S", 0.0)
    dashboard.job["runtime_env"] = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "0"}}
    dashboard.on_stop = lambda: None
    result = invoke("cancel", "job-1", "--address", address)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "was asked to end, and is running yet" in result.stderr


def test_nothing_of_ray_is_loaded_without_an_address(finished) -> None:
    code = (
        "import sys; sys.argv = ['caviar', 'status', sys.argv[1]]\n"
        "from caviar.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('ray', 'requests', 'caviar.jobs.client') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code, str(finished)], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "[]"
