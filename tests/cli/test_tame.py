"""What comes from a cluster does not steer a terminal."""

from __future__ import annotations

import dataclasses
import io
import json
from types import SimpleNamespace

import pytest

from caviar.cli import afar
from caviar.cli.tame import plain, tame, tame_pieces
from caviar.errors import ClusterError
from caviar.jobs.client import JobInfo, Jobs
from caviar.jobs.records import Kind, Record

ORDERS = "\x1b]0;owned\x07 \x1b[2J \x9b2J \x1bc \b\x7f"
JOB = JobInfo(
    id=f"job{ORDERS}",
    status="running",
    entrypoint=f"run{ORDERS}",
    metadata={"caviar_kind": "sweep", "caviar_folder": f"/x{ORDERS}", "caviar_command": f"caviar submit{ORDERS}"},
    start_time_s=1.0,
    end_time_s=None,
    message=f"so{ORDERS}",
    exit_code=None,
    node="node",
)


def harmless(text: str) -> bool:
    return all(each.isprintable() or each == "\n" for each in text)


@pytest.fixture
def _cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster with that job, which ends as soon as it is asked to."""
    job = [JOB]

    def stop(self: Jobs, name: str) -> None:
        job[0] = dataclasses.replace(JOB, status="stopped")

    monkeypatch.setattr(Jobs, "_connect", lambda self: None)
    monkeypatch.setattr(Jobs, "list", lambda self: [JOB])
    monkeypatch.setattr(Jobs, "info", lambda self, name: job[0])
    monkeypatch.setattr(Jobs, "stop", stop)
    monkeypatch.setattr(Jobs, "log", lambda self, name: f"one{ORDERS}\ntwo\n")
    monkeypatch.setattr(Jobs, "follow", lambda self, name: iter([f"one{ORDERS}\ntwo\n"]))


@pytest.mark.usefixtures("_cluster")
@pytest.mark.parametrize(
    "command",
    [["jobs"], ["jobs", "--all"], ["cancel", "job"], ["logs", "job"], ["logs", "-f", "job"]],
    ids=" ".join,
)
def test_what_a_cluster_calls_things_is_text(invoke, command) -> None:
    done = invoke(*command, "--address", "http://head:8265")
    assert "owned" in done.stdout
    assert harmless(done.output), repr(done.output)


@pytest.mark.usefixtures("_cluster")
def test_as_json_it_is_whole(invoke) -> None:
    done = invoke("jobs", "--json", "--address", "http://head:8265")
    assert harmless(done.stdout)
    assert json.loads(done.stdout)["id"] == JOB.id


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_errors_are_text(invoke, monkeypatch, own_logging, debug) -> None:
    def fail(self: Jobs) -> None:
        raise ClusterError(f"cannot\n{ORDERS}\x1b[1m")

    monkeypatch.setattr(Jobs, "_connect", fail)
    done = invoke("jobs", "--address", "http://head:8265", *debug)
    assert "caviar: error: cannot ]0;owned" in done.stderr
    assert harmless(done.stderr.replace("\x1b[1m", "") if debug else done.stderr), repr(done.stderr)


def test_lines_tabs_and_colours_are_left() -> None:
    text = "a\tb\n\x1b[1;38:5:9mred\x1b[0m ä 三\n"
    assert tame(text) == text
    assert plain(text) == "a\tb\nred ä 三\n"
    assert tame("50%\r100%\r\n") == "50%\n100%\n"
    assert [tame("".join(tame_pieces([text[:cut], text[cut:]]))) for cut in range(len(text))] == [text] * len(text)
    torn = f"x{ORDERS}y"
    assert all(harmless("".join(tame_pieces([torn[:cut], torn[cut:]]))) for cut in range(len(torn)))


@pytest.mark.parametrize("terminal", [True, False])
def test_an_answer_is_tamed_for_a_terminal_and_whole_in_a_pipe(monkeypatch, terminal) -> None:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    out, err = Stream(), Stream()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    data = f"ä{ORDERS}\n".encode()
    records = [
        Record(Kind.OUT, data[:1]),
        Record(Kind.ERR, data),
        Record(Kind.OUT, data[1:]),
        Record(Kind.END, b"3"),
    ]
    assert afar._answered(SimpleNamespace(records=lambda: iter(records))) == 3  # type: ignore[arg-type]
    for stream in (out, err):
        assert stream.getvalue() == (tame(data.decode()) if terminal else data.decode())
    assert harmless(out.getvalue()) is terminal
