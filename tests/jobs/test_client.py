"""Jobs of a cluster, as far as they need none: addresses, tokens, errors, a log whatever becomes of the line."""

from __future__ import annotations

import gc
import io
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import AuthenticationError

from caviar.errors import CaviarError, ClusterError, UsageError
from caviar.jobs import log, trouble
from caviar.jobs.address import dashboard_address, token_headers, trusted
from caviar.jobs.client import Jobs
from tests.jobs.dashboards import Dashboard, Handler, know_nothing_of_ray, serving


@pytest.fixture(autouse=True)
def _nothing_known_of_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    know_nothing_of_ray(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("10.0.0.1:6379", "http://10.0.0.1:8265"),
        ("http://10.0.0.1:6379", "http://10.0.0.1:8265"),
        ("ray://head:10001", "http://head:8265"),
        ("head:8265", "http://head:8265"),
        ("head:8266", "http://head:8266"),
        ("127.0.0.2:23805", "http://127.0.0.2:8265"),
        ("head", "http://head:8265"),
        ("auto", "http://HEAD:8265"),
        ("http://head:port", "http://HEAD:8265"),
        ("", "http://HEAD:8265"),
    ],
)
def test_an_address_of_another_kind_is_told_the_one_that_is_meant(given: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"^--address {given}: .*dashboard, as {meant}$"):
        dashboard_address(given)


@pytest.mark.parametrize("address", ["http://head:8265", "https://ray.example.org/cluster", "http://[::1]:8265"])
def test_the_address_of_a_dashboard_is_taken_as_it_is(address: str) -> None:
    assert dashboard_address(f"{address}/") == address


def test_the_environment_names_a_dashboard_where_the_command_line_does_not() -> None:
    gcs, first, second = "10.0.0.1:6379", "http://first:8265", "http://second:8265"
    assert dashboard_address(None, {"RAY_ADDRESS": second, "RAY_API_SERVER_ADDRESS": first}) == first
    assert dashboard_address(None, {"RAY_ADDRESS": second}) == second
    assert dashboard_address(first, {"RAY_ADDRESS": second}) == first
    for environment in ({}, {"RAY_ADDRESS": gcs}):
        with pytest.raises(UsageError, match="--address: which cluster"):
            dashboard_address(None, environment)


def test_the_command_line_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own client would take what the environment names."""
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with serving(Dashboard()) as address:
        assert [job.id for job in Jobs(address).list()] == ["job-1"]


def test_a_job_as_it_stands() -> None:
    dashboard = Dashboard()
    with serving(dashboard) as address:
        jobs = Jobs(address)
        job = jobs.info("job-1")
        assert (job.status, job.ended, job.kind, job.folder) == ("running", False, "sweep", "/shared/runs/digits")
        assert (job.start_time_s, job.end_time_s, job.stop_wait_s) == (1_700_000_000.0, None, 30.0)
        dashboard.end("FAILED")
        [job] = jobs.list()
        assert (job.status, job.ended, job.end_time_s) == ("failed", True, 1_700_000_060.0)


def test_no_such_job() -> None:
    with (
        serving(Dashboard()) as address,
        pytest.raises(UsageError, match=f"^no job job-2 at {address}; there are job-1$"),
    ):
        Jobs(address).info("job-2")


def cannot_be_reached(address: str) -> str:
    with pytest.raises(ClusterError) as raised:
        Jobs(address)
    text = str(raised.value)
    assert "\n" not in text
    begin = f"cannot reach a Ray cluster at {address}: "
    assert text.startswith(begin)
    return text.removeprefix(begin)


def test_nothing_listens_there() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and does not listen
        assert cannot_be_reached(f"http://127.0.0.1:{held.getsockname()[1]}") == "nothing listens there"


def test_a_name_that_nobody_knows() -> None:
    assert cannot_be_reached("http://head.invalid:8265") == "nobody knows a machine of that name"


def test_what_listens_gives_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("connection", "trouble"):
        monkeypatch.setattr(f"caviar.jobs.{module}.ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        told = cannot_be_reached(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert told == "something listens there, and gave no answer within 0.2 s"


def test_the_time_for_a_connection_and_an_answer_is_about_ten_seconds() -> None:
    assert trouble.CONNECT_S + trouble.ANSWER_S <= 10


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((200, b"<html>It works!</html>"), "is not the dashboard of a Ray cluster"),
        ((200, {"version": 1}), "is not the dashboard of a Ray cluster"),
        ((404, b"no such page"), "is not the dashboard of a Ray cluster"),
        ((502, b"bad gateway"), "HTTP status 502; is it the dashboard of a Ray cluster, and up?"),
        ((200, {"ray_version": "1.13.0"}), "Ray version 1.13.0 is running on the cluster"),
    ],
)
def test_what_listens_is_no_dashboard(answer: tuple[int, object], told: str) -> None:
    dashboard = Dashboard()
    dashboard.refused = {"/api/version": answer}
    with serving(dashboard) as address:
        assert told in cannot_be_reached(address)


def test_a_dashboard_without_tls() -> None:
    with serving(Dashboard()) as address:
        assert "does not speak TLS" in cannot_be_reached(address.replace("http:", "https:"))


def test_a_cluster_that_asks_for_a_token_is_given_the_one_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Dashboard(token="sesame")) as address:
        assert "it asks for a token; set RAY_AUTH_MODE=token" in cannot_be_reached(address)
        monkeypatch.setenv("RAY_AUTH_TOKEN", "barley")
        assert "does not take the token" in cannot_be_reached(address)
        monkeypatch.setenv("RAY_AUTH_TOKEN", "sesame")
        assert Jobs(address).info("job-1").id == "job-1"
        for mode in ("disabled", "tokn"):
            monkeypatch.setenv("RAY_AUTH_MODE", mode)
            told = (
                f"it asks for a token, and RAY_AUTH_MODE is '{mode}', which sends none; set RAY_AUTH_MODE=token, "
            )
            assert cannot_be_reached(address).startswith(told)


def test_who_has_said_that_a_token_is_to_be_sent_is_asked_for_the_token_alone(monkeypatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with serving(Dashboard(token="sesame")) as address:
        assert cannot_be_reached(address).startswith("it asks for a token; set RAY_AUTH_TOKEN to the cluster's ")
    told = trouble.unreachable(AuthenticationError("no token"))
    assert told.startswith(
        "RAY_AUTH_MODE asks for a token, and there is none: set RAY_AUTH_TOKEN to the cluster's "
    )


def test_a_token_is_not_shown_to_who_does_not_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []

    class Careful(Dashboard):
        def answer(self, asked):
            shown.append(asked.headers.get("Authorization"))
            super().answer(asked)

    monkeypatch.setenv("RAY_AUTH_TOKEN", "sesame")
    with serving(Careful()) as address:
        Jobs(address).list()
    assert shown
    assert set(shown) == {None}


@pytest.mark.parametrize(
    ("address", "may"),
    [
        *((f"http://{host}:8265", True) for host in ("127.0.0.1", "10.1.2.3", "100.64.0.1", "[::1]", "[fd00::1]")),
        *((f"http://{host}:8265", False) for host in ("8.8.8.8", "[2606:4700::1]", "[::ffff:8.8.8.8]")),
        ("https://8.8.8.8", True),
    ],
)
def test_a_token_goes_unasked_neither_in_the_clear_nor_over_the_internet(address: str, may: bool) -> None:
    assert trusted(address) is may


def test_a_token_is_kept_from_who_is_not_trusted_unless_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caviar.jobs.client.trusted", lambda address: False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "sesame")
    dashboard = Dashboard(token="sesame")
    with serving(dashboard) as address:
        assert "it asks for a token; set RAY_AUTH_MODE=token" in cannot_be_reached(address)
    assert dashboard.seen == ["GET /api/version"]


def test_where_a_token_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert token_headers() == {}
    file = tmp_path / "token"
    file.write_text("from-file\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
    assert token_headers() == {"Authorization": "Bearer from-file"}
    monkeypatch.setenv("RAY_AUTH_TOKEN", "itself")
    assert token_headers() == {"Authorization": "Bearer itself"}
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("at-home")
    assert token_headers() == {"Authorization": "Bearer at-home"}


def test_a_machine_without_rays_job_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "caviar.jobs.connection", None)
    with pytest.raises(UsageError, match=r'pip install "caviar-sweep\[cluster\]"'):
        Jobs("http://head:8265")


def test_a_refused_job_is_told_in_one_line() -> None:
    dashboard = Dashboard()
    story = b'Traceback (most recent call last):\n  File "job_manager.py"\nValueError: Job x already exists.\n'
    dashboard.refused = {"/api/jobs/": (400, story)}
    with serving(dashboard) as address, pytest.raises(ClusterError) as raised:
        Jobs(address).submit("caviar run", job_id="x")
    assert str(raised.value) == f"cannot submit a job to {address}: Job x already exists"


@pytest.fixture
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INTERVAL_S", "SILENCE_S", "START_S"):
        monkeypatch.setattr(log, name, 0.01)


@pytest.mark.usefixtures("_no_pauses")
def test_a_log_is_followed_over_broken_lines() -> None:
    """Each time it comes from its beginning; nothing is doubled, and no character is cut in two."""
    whole = "one\nzwei ä\n三\nfour\n".encode()
    dashboard = Dashboard(streams=[[whole[:4]], [whole[:4], whole[4:10]], [whole[:11]], [whole[:-5]]])
    dashboard.log = whole
    with serving(dashboard) as address:
        seen = ""
        for piece in Jobs(address).follow("job-1"):
            seen += piece
            if seen.endswith("三\n"):
                dashboard.end()
    assert seen == whole.decode()
    assert dashboard.seen.count("GET /api/v0/logs/stream") >= 4


@pytest.mark.usefixtures("_no_pauses")
def test_a_log_that_cannot_be_streamed_is_asked_for_again_and_again() -> None:
    dashboard = Dashboard()
    dashboard.refused = {f"/api/v0/logs/{kind}": (500, b"no such thing") for kind in ("stream", "file")}
    dashboard.log = b"first\n"
    with serving(dashboard) as address:
        following = Jobs(address).follow("job-1")
        assert next(following) == "first\n"
        dashboard.log += b"second\n"
        assert next(following) == "second\n"
        dashboard.end()
        assert list(following) == []


class Torn(Dashboard):
    """Has whatever is asked about a log end before anything of it has come, so many times."""

    def __init__(self, tears: int, *, of: str, **more: Any) -> None:
        super().__init__(**more)
        self.tears = tears
        self.of = of

    def answer(self, asked: Handler) -> None:
        if self.of in asked.path and self.tears:
            self.tears -= 1
            self.seen.append("torn")
            asked.close_connection = True
            asked.connection.shutdown(socket.SHUT_RDWR)
        else:
            super().answer(asked)


@pytest.mark.usefixtures("_no_pauses")
def test_a_log_whose_streams_all_break_is_asked_for_in_another_way() -> None:
    dashboard = Torn(30, of="/api/v0/logs/")
    dashboard.log = b"first\n"
    dashboard.end()
    with serving(dashboard) as address:
        assert list(Jobs(address).follow("job-1")) == ["first\n"]
    assert dashboard.tears > 0
    # those that bring something do not count
    dashboard = Dashboard(streams=[[b"x" * count] for count in range(1, 2 * log.TRIES)])
    with serving(dashboard) as address:
        following = Jobs(address).follow("job-1")
        assert [next(following) for _ in range(2 * log.TRIES - 1)] == ["x"] * (2 * log.TRIES - 1)
        following.close()
    assert "GET /api/jobs/job-1/logs" not in dashboard.seen


@pytest.mark.usefixtures("_no_pauses")
def test_a_cluster_that_comes_back_is_waited_for_whichever_way_a_log_is_read() -> None:
    dashboard = Torn(0, of="/api/jobs/job-1/logs")
    dashboard.refused = {f"/api/v0/logs/{kind}": (500, b"no such thing") for kind in ("stream", "file")}
    dashboard.log = b"first\n"
    with serving(dashboard) as address:
        following = Jobs(address).follow("job-1")
        assert next(following) == "first\n"
        dashboard.tears = 3
        dashboard.log += b"second\n"
        dashboard.end()
        assert list(following) == ["second\n"]
    assert dashboard.seen.count("torn") == 3


@pytest.mark.usefixtures("_no_pauses")
def test_the_two_ways_to_read_a_log_agree_where_it_is_not_all_text() -> None:
    class AsRay(Dashboard):
        """Reads the file as Ray does, which cannot do that here: as text."""

        def answer(self, asked: Handler) -> None:
            if asked.path.endswith("/job-1/logs"):
                text = io.TextIOWrapper(io.BytesIO(self.log), "utf-8", "replace").read()
                asked.give(200, {"logs": text})
            else:
                super().answer(asked)

    raw = b"\xff\xfe one\r 50%\r100%\r\nzwei \xc3\xa4\xe4\n"
    dashboard = AsRay(streams=[[raw[:11], raw[11:]]])
    dashboard.log = raw
    with serving(dashboard) as address:
        following = Jobs(address).follow("job-1")
        seen = ""
        while not seen.endswith("\n") or "zwei" not in seen:
            seen += next(following)
        dashboard.refused = {f"/api/v0/logs/{kind}": (500, b"no such thing") for kind in ("stream", "file")}
        dashboard.log += b"three\n"
        dashboard.end()
        seen += "".join(following)
    assert seen == "\ufffd\ufffd one\n 50%\n100%\nzwei ä\ufffd\nthree\n"


@pytest.mark.usefixtures("_no_pauses")
def test_the_log_of_a_job_that_has_ended_is_read_once() -> None:
    dashboard = Dashboard()
    dashboard.log = b"done\n"
    dashboard.end()
    with serving(dashboard) as address:
        assert "".join(Jobs(address).follow("job-1")) == "done\n"
    assert "GET /api/v0/logs/stream" not in dashboard.seen


@pytest.mark.usefixtures("_no_pauses")
def test_a_job_that_never_began_has_no_log() -> None:
    dashboard = Dashboard()
    dashboard.job = {**dashboard.job, "driver_node_id": None}
    dashboard.end("FAILED")
    with serving(dashboard) as address:
        assert list(Jobs(address).follow("job-1")) == []


@pytest.mark.usefixtures("_no_pauses")
def test_a_cluster_that_stays_away_ends_the_following(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "PATIENCE_S", 0.1)
    with serving(Dashboard(streams=[[b"one\n"]])) as address:
        following = Jobs(address).follow("job-1")
        assert next(following) == "one\n"
    with pytest.raises(CaviarError, match="nothing listens there"):
        list(following)


@pytest.mark.usefixtures("_no_pauses")
def test_a_log_can_be_left_at_any_moment(caplog: pytest.LogCaptureFixture) -> None:
    """Also from within, as by Ctrl-C, while it waits; nothing of it stays behind."""

    class Interrupting(Dashboard):
        def answer(self, asked):
            if asked.path.endswith("/stream") or "stream" not in " ".join(self.seen):
                super().answer(asked)
            else:
                os.kill(os.getpid(), signal.SIGUSR1)
                super().answer(asked)

    def interrupt(number, frame):
        signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with serving(Interrupting(streams=[[b"one\n"]])) as address:
            following = Jobs(address).follow("job-1")
            assert next(following) == "one\n"
            with pytest.raises(KeyboardInterrupt):
                next(following)
    finally:
        signal.signal(signal.SIGUSR1, before)
    with serving(Dashboard(streams=[[b"one\n"]])) as address:
        following = Jobs(address).follow("job-1")
        assert next(following) == "one\n"
        following.close()
    gc.collect()
    assert caplog.records == []
