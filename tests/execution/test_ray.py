"""What only the Ray executor does, on a real Ray."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

import caviar
from caviar.errors import ExecutionError, FolderError, OutageError, UsageError
from caviar.execution import cluster, worker
from caviar.execution.contract import Arrivals, Job
from caviar.execution.exchange import Exchanges
from caviar.execution.heartbeat import AwakeClock
from caviar.execution.hiring import Hiring
from caviar.execution.roster import Roster
from caviar.execution.wire import ENDED, REPORTS, RUNG, STARTED
from caviar.messages import Answer, Launch, TrialStarted
from caviar.panda.asking import ask
from caviar.store.checkpoints import CheckpointFiles

pytestmark = pytest.mark.ray

SPACE = caviar.Space(lr=caviar.Float(1e-3, 1.0, scale="log"), width=caviar.Int(1, 8))
ROOT = Path(__file__).parents[2]


def sweep(train: Any, **changes: Any) -> caviar.Sweep:
    arguments: dict[str, Any] = {"metric": "loss", "trials": 6, "max_step": 5, "retries": 0, **changes}
    return caviar.Sweep(train, SPACE, **arguments)


def learns(trial: caviar.Trial) -> None:
    for step in trial.steps():
        trial.report(loss=float(trial.params["lr"] / step), seed=trial.seed)


def goes_on_until_its_worker_dies(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    while trial.id == 2 and trial.attempt == 0:
        trial.report(loss=1.0)


def crashes(trial: caviar.Trial) -> None:
    trial.report(loss=1.0)
    if trial.id % 3 == 1:
        os._exit(1)
    if trial.id % 3 == 2:
        os.kill(os.getpid(), signal.SIGSEGV)


def tells_its_environment(trial: caviar.Trial) -> None:
    trial.report(
        loss=float(os.environ.get("CAVIAR_TEST_FLAVOUR", "nan")), threads=float(os.environ["OMP_NUM_THREADS"])
    )


def talks(trial: caviar.Trial) -> None:
    print("a word of trial", trial.id)
    trial.report(loss=1.0)


def is_on_the_main_thread_without_ray(trial: caviar.Trial) -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # only a main thread may
    trial.report(loss=0.0, ray=float("ray" in sys.modules and sys.modules["ray"].is_initialized()))


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_any_number_of_workers_gives_the_same_reports(tmp_path: Path, workers: int) -> None:
    expected = sweep(learns, trials=24, seed=3).run(tmp_path / "reference", caviar.Inline())
    got = sweep(learns, trials=24, seed=3).run(tmp_path / "sweep", caviar.Ray(workers=workers))
    columns = ["trial", "step", "loss", "seed", "params.lr", "params.width"]
    pd.testing.assert_frame_equal(
        got.curves(params=["lr", "width"])[columns], expected.curves(params=["lr", "width"])[columns]
    )


@pytest.mark.usefixtures("ray_cluster")
def test_crashes_cost_their_own_trials(tmp_path: Path) -> None:
    trials = sweep(crashes, trials=9).run(tmp_path / "sweep", caviar.Ray(workers=2)).trials()
    assert list(trials.status) == ["completed", "failed", "failed"] * 3
    assert set(trials.reason[1::3]) == {"its training process exited with status 1"}
    assert set(trials.reason[2::3]) == {"its training process was killed by SIGSEGV"}


@pytest.mark.usefixtures("ray_cluster")
def test_a_lost_worker_costs_no_retry(tmp_path: Path) -> None:
    executor = caviar.Ray(workers=2)
    killed: list[str] = []

    def kill_the_worker_of_trial_2(event: Any) -> None:
        if isinstance(event, TrialStarted) and event.trial == 2 and event.attempt == 0:
            import ray

            (lost,) = (one for one in executor._workers if one.name == event.worker)
            ray.kill(lost.actor)
            killed.append(event.worker)

    result = sweep(goes_on_until_its_worker_dies, trials=8, max_step=None).run(
        tmp_path / "sweep", executor, on_event=kill_the_worker_of_trial_2
    )
    trials, events = result.trials(), result.events()
    assert len(killed) == 1
    assert set(trials.status) == {"completed"}
    assert trials.attempts[2] == 2
    assert trials.attempts.drop(2).eq(1).all(), "what it had in hand went back unstarted"
    assert len(events[events.kind == "worker_lost"]) == 1
    assert len(events[events.kind == "attempt_lost"]) == 1


def until_stopped(trial: caviar.Trial) -> None:
    while True:
        trial.report(loss=1.0)
        time.sleep(0.005)


@pytest.mark.usefixtures("ray_cluster")
def test_who_is_rolled_back_keeps_its_place_and_who_is_in_hand_can_be_stopped(tmp_path: Path) -> None:
    path, begun = tmp_path / "sweep", threading.Event()

    def observe(item: Any) -> None:
        if isinstance(item, TrialStarted):
            begun.set()

    many = sweep(until_stopped, trials=4, max_step=None)
    driver = threading.Thread(target=lambda: many.run(path, caviar.Ray(workers=1), on_event=observe))
    driver.start()
    try:
        assert begun.wait(60)
        assert ask(path, "stop", trial=1).text == "trial 1 stopped at step 0", "it was in hand, behind trial 0"
        assert ask(path, "rollback", trial=0, args={"to_step": 3}).text.endswith(
            "to step 0 (it has no checkpoint at or before step 3: from the beginning)"
        )
        assert ask(path, "pause", trial=0).text.startswith("paused at step "), "it trains, and no other"
    finally:
        ask(path, "stop")
        driver.join(60)
    events = caviar.load(path).events()
    started = events[events.kind == "trial_started"]
    assert list(zip(started.trial, started.attempt, strict=True))[:2] == [(0, 0), (0, 1)]


@pytest.mark.usefixtures("ray_cluster")
def test_the_training_function_has_a_main_thread_and_no_ray(tmp_path: Path) -> None:
    result = sweep(is_on_the_main_thread_without_ray, trials=2).run(tmp_path / "sweep", caviar.Ray(workers=1))
    assert set(result.trials().status) == {"completed"}
    assert set(result.curves().ray) == {0.0}


@pytest.mark.usefixtures("ray_cluster")
def test_runtime_env_and_threads_reach_the_training_function(tmp_path: Path) -> None:
    executor = caviar.Ray(workers=1, runtime_env={"env_vars": {"CAVIAR_TEST_FLAVOUR": "17"}})
    result = sweep(tells_its_environment, trials=1, resources=caviar.Resources(cpus=2)).run(
        tmp_path / "sweep", executor
    )
    row = result.curves().iloc[0]
    assert (row.loss, row.threads) == (17.0, 2.0)


@pytest.mark.usefixtures("ray_cluster")
def test_two_sweeps_side_by_side_keep_their_own_code(tmp_path: Path) -> None:
    def declare(value: float) -> caviar.Sweep:
        def train(trial: caviar.Trial) -> None:
            for step in trial.steps():
                trial.report(loss=value * step)

        return sweep(train, trials=20)

    results: dict[float, caviar.Result] = {}

    def run(value: float) -> None:
        results[value] = declare(value).run(tmp_path / str(value), caviar.Ray(workers=1))

    threads = [threading.Thread(target=run, args=(value,)) for value in (1.0, 100.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for value, result in results.items():
        assert len(result.trials()) == 20
        assert set(result.curves().loss) == {value * step for step in range(1, 6)}
    assert len(results) == 2


@pytest.mark.usefixtures("ray_cluster")
def test_what_trials_print_is_not_on_the_screen(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sweep(talks, trials=3).run(tmp_path / "sweep", caviar.Ray(workers=1))
    assert "a word" not in "".join(capfd.readouterr())
    logs = {path.name: path.read_text() for path in (tmp_path / "sweep" / "logs").iterdir()}
    assert logs == {f"{trial}.log": f"a word of trial {trial}\n" for trial in range(3)}


@pytest.mark.usefixtures("ray_cluster")
def test_an_unpicklable_function_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    lock = threading.Lock()

    def train(trial: caviar.Trial) -> None:
        with lock:
            trial.report(loss=1.0)

    with pytest.raises(UsageError, match=r"training function .*train cannot be sent to workers: .*lock"):
        sweep(train).run(tmp_path / "sweep", caviar.Ray(workers=1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(
    ("resources", "text"),
    [
        (caviar.Resources(cpus=64), "a trial needs 64 CPU, and the whole Ray cluster has 4"),
        (caviar.Resources(gpus=1), "a trial needs 1 GPU, and the whole Ray cluster has 0"),
        (caviar.Resources(custom={"tpu": 2}), "a trial needs 2 tpu, and the whole Ray cluster has 0"),
    ],
)
def test_resources_that_the_cluster_does_not_have(tmp_path: Path, resources: Any, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        sweep(learns, resources=resources).run(tmp_path / "sweep", caviar.Ray())
    assert list(tmp_path.iterdir()) == []


def test_an_address_where_nothing_listens(tmp_path: Path) -> None:
    code = f"""
    import caviar
    try:
        sweep = caviar.Sweep(print, caviar.Space(a=1), metric="loss", trials=1)
        sweep.run({str(tmp_path / "x")!r}, caviar.Ray("127.0.0.1:1"))
    except caviar.CaviarError as error:
        print(type(error).__name__, error)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=ROOT, timeout=100
    )
    assert run.stdout.startswith(f"{ExecutionError.__name__} cannot reach Ray at 127.0.0.1:1"), run.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_address_of_a_dashboard() -> None:
    with pytest.raises(UsageError, match=r"http://head:8265 is that of a dashboard, .*caviar submit.*HEAD:6379"):
        cluster._refuse_dashboard("http://head:8265")


@pytest.mark.parametrize(
    ("mode", "hint"), [("token", "is the token that of this cluster"), ("disabled", "if it asks for a token")]
)
def test_a_cluster_that_lets_nobody_in_may_ask_for_a_token(
    mode: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    assert hint in cluster._hint("10.0.0.1:6379")
    assert cluster._hint("local") == ""


def test_many_workers_over_several_nodes(tmp_path: Path) -> None:
    """Three nodes of two cores on this machine; one has a custom resource, a label, and a GPU as Ray counts."""
    code = f"""
    import ray, warnings
    warnings.simplefilter("ignore")
    from ray.cluster_utils import Cluster
    import caviar

    def train(trial):
        import os, time
        for step in trial.steps():
            time.sleep(0.05)
            gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
            trial.report(loss=1.0 / step, sees_gpu_0=float(gpus == "0"))

    cluster = Cluster(initialize_head=True, head_node_args={{"num_cpus": 2}})
    cluster.add_node(num_cpus=2)
    cluster.add_node(num_cpus=2, num_gpus=1, resources={{"special": 1}}, labels={{"kind": "fast"}})
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    space = caviar.Space(lr=caviar.Float(0, 1))
    kept = dict(metric="loss", trials=60, max_step=3)
    result = caviar.Sweep(train, space, **kept).run({str(tmp_path / "wide")!r})
    starts = result.events().query("kind == 'trial_started'")
    print(set(result.trials().status), len({{data["worker"] for data in starts.data}}))
    special = caviar.Resources(gpus=0.5, custom={{"special": 0.5}}, labels={{"kind": "fast"}})
    result = caviar.Sweep(train, space, resources=special, **kept).run({str(tmp_path / "special")!r})
    starts = result.events().query("kind == 'trial_started'")
    print(set(result.trials().status), len({{data["worker"] for data in starts.data}}))
    print(set(result.curves().sees_gpu_0))
    ray.shutdown()
    cluster.shutdown()
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=ROOT, timeout=110
    )
    assert run.stdout.splitlines() == ["{'completed'} 6", "{'completed'} 2", "{1.0}"], run.stderr


@pytest.mark.usefixtures("ray_cluster")
def test_a_relative_folder_is_the_drivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the workers' current folder is another one: Ray started before
    result = sweep(talks, trials=1).run("runs/sweep", caviar.Ray(workers=1))
    assert set(result.trials().status) == {"completed"}
    assert (tmp_path / "runs" / "sweep" / "logs" / "0.log").exists()


@pytest.mark.usefixtures("ray_cluster")
def test_a_runtime_env_that_ray_refuses_is_one_line(tmp_path: Path) -> None:
    executor = caviar.Ray(workers=1, runtime_env={"working_dir": str(tmp_path)})
    with pytest.raises(UsageError, match=r"Ray refuses these workers: ValueError: .* is not a valid URI"):
        sweep(learns).run(tmp_path / "sweep", executor)
    assert list(tmp_path.iterdir()) == []


def test_memory_that_runs_out_is_charged_to_what_was_training(tmp_path: Path) -> None:
    """Ray's monitor ends workers where memory is low. Here it is so as soon as a trial has some 4 GiB: with less,
    what tests beside this one take would end it again and again."""
    code = f"""
    import os, re, time, warnings
    warnings.simplefilter("ignore")
    size = dict(re.findall(r"(\\w+): +(\\d+) kB", open("/proc/meminfo").read()))
    total, free = (int(size[name]) * 1024 for name in ("MemTotal", "MemAvailable"))
    os.environ["RAY_memory_usage_threshold"] = str((total - free + 4 * 2**30) / total)
    os.environ["RAY_memory_monitor_refresh_ms"] = "50"
    import ray
    import caviar

    def train(trial):
        trial.report(loss=1.0)
        with trial.checkpoint():
            pass
        held = []
        while trial.id == 1 and trial.attempt == 0:
            held.append(bytearray(os.urandom(1)) * (64 * 2**20))
            time.sleep(0.02)
            assert len(held) < 256, "Ray lets it use 16 GiB"

    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    sweep = caviar.Sweep(train, caviar.Space(lr=caviar.Float(0, 1)), metric="loss", trials=4, retries=9)
    result = sweep.run({str(tmp_path / "sweep")!r}, caviar.Ray(workers=1))
    print(set(result.trials().status))
    events = result.events()
    (failed,) = events.query("kind == 'attempt_failed' and trial == 1").itertuples()
    print(failed.data["reason"])
    print(set(events.kind) & {{"worker_lost", "attempt_lost"}})
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=ROOT, timeout=110
    )
    lines = run.stdout.splitlines()
    assert lines[:1] == ["{'completed'}"], run.stderr
    assert re.match(r"out of memory: \d+ worker\(s\) were killed due to the node running low on memory", lines[1])
    assert lines[2] == "{'worker_lost'}"


def test_a_node_that_does_not_see_the_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "FOLDER_S", 0.0)
    files = CheckpointFiles(str(tmp_path / "elsewhere"))
    with pytest.raises(FolderError, match="does not see the sweep folder"):
        worker.WorkerActor._probe(files)


def test_a_node_that_does_not_reach_the_object_store_is_refused_until_one_has_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outage = OutageError(5, "the object store cannot be reached", "s3://bucket/x/sweep.json")

    class Away:
        def visible(self) -> bool:
            raise outage

    monkeypatch.setattr(worker, "FOLDER_S", 0.0)
    with pytest.raises(OutageError) as told:
        worker.WorkerActor._probe(Away())
    assert told.value is outage
    raised = RuntimeError("as Ray tells it")
    raised.cause = outage  # type: ignore[attr-defined]
    driver = _Driver()
    driver.executor._trained = False
    driver.actor.replies[-1].set_exception(raised)
    with pytest.raises(
        FolderError, match=r"^a node that trains does not reach s3://bucket/x/sweep.json: the object"
    ):
        driver.listen(1)
    driver = _Driver()
    driver.executor._trained = True
    driver.actor.replies[-1].set_exception(raised)
    driver.listen(1)
    assert len(driver.hiring.reasons) == 1


class _Actor:
    """An actor's handle; what its exchanges reply is set from outside."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, list[Any]]] = []
        self.replies: list[Future[Any]] = []
        self.nudges = 0
        self.exchange = self
        self.nudge = SimpleNamespace(remote=self._nudged)

    def remote(self, request: worker.Request) -> Any:
        number, orders, *_ = request
        self.calls.append((number, list(orders)))
        self.replies.append(Future())
        return SimpleNamespace(future=lambda: self.replies[-1])

    def _nudged(self) -> None:
        self.nudges += 1


class _Hiring:
    """Makes no workers, and notes why they were dismissed."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def dismiss(self, worker: worker.Worker, reason: str, **others: Any) -> None:
        self.reasons.append(reason)

    def vacant(self, now_s: float) -> list[int]:
        return [0]

    def fill(self, missing: Any, now_s: float) -> list[worker.Worker]:
        return []

    def wonder(self, **others: Any) -> None:
        pass


class _Staffing:
    def targets(self, trials: int, crew: Any) -> list[int]:
        return [1]


class _Driver:
    """The driver's side, with one worker, which has an exchange under way; time passes by hand. ``others``: more
    workers, of which nothing is heard."""

    def __init__(self, others: Sequence[worker.Worker] = ()) -> None:
        self.time_s = 0.0
        self.actor, self.hiring = _Actor(), _Hiring()
        self.delivered: list[Arrivals] = []
        self.executor = executor = caviar.Ray()
        self.worker = worker.Worker("worker-0", self.actor, ready=True, orders=[("an order",)])
        executor._workers, executor._queue, executor._kept = Roster(), deque(), {}
        executor._heard, executor._unacknowledged, executor._closed = [], deque(), False
        executor._job = SimpleNamespace(resources=caviar.Resources())  # type: ignore[assignment]
        executor._seconds_per_trial, executor._one_trial_each, executor._to_come = None, False, 0
        executor._staffing = _Staffing()  # type: ignore[assignment]
        executor._hiring = self.hiring  # type: ignore[assignment]
        executor._clock, executor._check_at_s = AwakeClock(clock=lambda: self.time_s), 0.0
        executor._exchanges = Exchanges(executor._clock)
        executor._deliver = self._deliver
        for one in (*others, self.worker):
            executor._begin(one)

    def _deliver(self, arrivals: Arrivals) -> int:
        self.delivered.append(arrivals)
        return len(self.delivered)

    def listen(self, for_s: float) -> None:
        """Let so many seconds pass, with a poll after each."""
        for _ in range(round(for_s)):
            self.time_s += 1.0
            self.executor.poll(0.0)

    @property
    def lost(self) -> list[Any]:
        return [event for arrivals in self.delivered for event in arrivals.events]


def test_a_reply_that_was_lost_on_the_way_is_asked_for_again() -> None:
    import ray

    driver = _Driver()
    for asked in (1, 2):
        assert driver.actor.calls == [(1, [("an order",)])] * asked, "the same request: its orders count once"
        driver.actor.replies[-1].set_exception(ray.exceptions.ActorUnavailableError("the network", None))
        driver.listen(2)
    driver.actor.replies[-1].set_result([])
    driver.listen(2)  # it is answered with the next poll, with the launches that there are by then
    assert driver.actor.calls[-1] == (2, [])
    assert driver.lost == []


def test_a_worker_that_cannot_be_reached_is_lost() -> None:
    import ray

    driver = _Driver()
    for _ in range(8):
        driver.actor.replies[-1].set_exception(ray.exceptions.ActorUnavailableError("the network", None))
        driver.listen(1)
    assert driver.lost == []
    driver.listen(1)
    assert driver.hiring.reasons == ["it has not replied for 9 s, and Ray does not reach it"]


def test_a_worker_that_owes_a_reply_is_lost_and_its_late_words_lead_to_nothing() -> None:
    driver = _Driver()
    launches = {trial: Launch(trial, 0, {}, 0, None, None) for trial in (0, 1)}
    driver.executor._workers.give(driver.worker, list(launches.values()))
    driver.worker.started = {0: 0}
    driver.listen(8)
    assert driver.lost == []
    driver.listen(1)
    assert driver.hiring.reasons == ["it has not replied for 9 s"]
    gone, ended = driver.lost
    assert (gone.worker, gone.reason) == ("worker-0", "it has not replied for 9 s")
    assert (ended.trial, ended.outcome, ended.reason) == (0, "lost", "worker-0: it has not replied for 9 s")
    assert list(driver.executor._queue) == [launches[1]], "what it had in hand goes back, not begun"
    driver.actor.replies[-1].set_result([(1, [], [(ENDED, 0, 0, 0, 5, "returned", *[None] * 5)])])
    driver.listen(1)
    assert len(driver.lost) == 2
    assert len(driver.actor.calls) == 1


def test_time_in_which_the_driver_was_away_counts_against_nobody() -> None:
    driver = _Driver()
    driver.listen(5)
    driver.time_s += 3600.0
    driver.listen(1)
    assert driver.lost == []


def test_a_worker_without_a_first_reply_may_be_waiting_for_its_place() -> None:
    driver = _Driver()
    driver.worker.ready = False
    driver.listen(3600)
    assert driver.lost == []


class _Silent(worker.Worker):
    """A worker of which nothing is heard; it counts how often it is looked at."""

    looks = 0

    def __getattribute__(self, name: str) -> Any:
        _Silent.looks += 1
        return super().__getattribute__(name)


def test_what_happens_at_one_worker_costs_no_look_at_another() -> None:
    silent = [_Silent(f"worker-{number}", _Actor(), ready=number % 2 == 0) for number in range(1, 1_000)]
    driver = _Driver(silent)
    executor = driver.executor
    executor._check_at_s = 1.0  # time stands still: who is silent for too long is looked for once a second
    executor.send([Launch(trial, 0, {}, 0, 2, None) for trial in range(executor.room())])
    executor.poll(0.0)
    assert executor.room() == 0
    trials, before = list(driver.worker.trials), _Silent.looks
    for number, trial in enumerate(trials, 1):
        entries = [
            (STARTED, 0, trial, 0, None),
            (REPORTS, trial, 0, 0, ("loss",), [(1.0, 0.0, 0.5), (2.0, 0.0, 0.4)]),
            (RUNG, trial, 0, 2, 0.4),
            (ENDED, 60_000_000, trial, 0, 2, "returned", *[None] * 5),
        ]
        driver.actor.replies[-1].set_result([(number, [], entries)])
        executor.poll(0.0)
        assert executor.room() == number
        executor.send([Answer(trial, 0, stop=False, next_rung=None)])
        executor.acknowledge(number)
        executor.poll(0.0)
    assert len(driver.actor.calls) == 1 + len(trials)
    assert len(driver.delivered) == len(trials)
    executor.send([Launch(1_000_000, 0, {}, 0, 2, None)])
    executor.poll(0.0)
    assert 1_000_000 in driver.worker.trials, "it has the most room"
    assert _Silent.looks == before


@pytest.fixture
def hiring(ray_cluster: None, tmp_path: Path) -> Hiring:
    job = Job(
        name="sweep",
        train=learns,
        setup=None,
        metric="loss",
        minimize=True,
        max_step=None,
        stop_on_nan=True,
        checkpoint_every=None,
        resources=caviar.Resources(),
        files=CheckpointFiles(str(tmp_path)),
        trials=1,
    )
    return Hiring(job, b"", runtime_env={}, cut_off_s=30.0, nobody_s=30.0)


def test_a_lost_worker_is_replaced_at_once(hiring: Hiring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hiring, "hire", lambda kind, failed_starts: failed_starts)
    hiring.dismiss(worker.Worker("worker-0", None, ready=True, failed_starts=3), "", anybody=True, now_s=0.0)
    assert hiring.fill([1], 0.0) == [0]
    assert hiring.fill([0], 1000.0) == []


def test_a_place_where_no_worker_can_begin_is_tried_again_after_growing_pauses(
    hiring: Hiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hiring, "hire", lambda kind, failed_starts: failed_starts)
    pauses: list[float] = []
    for failed in range(8):
        hiring.dismiss(worker.Worker("worker-0", None, failed_starts=failed), "", anybody=True, now_s=0.0)
        pauses.append(next(pause for pause in range(100) if hiring.fill([1], pause)))
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]


def test_when_nobody_works_and_no_worker_can_begin_it_is_given_up(hiring: Hiring) -> None:
    for failed in range(4):
        hiring.dismiss(worker.Worker("worker-0", None, failed_starts=failed), "", anybody=False, now_s=0.0)
    with pytest.raises(ExecutionError, match="5 workers in a row could not begin, the last one with: no disk"):
        hiring.dismiss(worker.Worker("worker-0", None, failed_starts=4), "no disk", anybody=False, now_s=0.0)


def test_what_ray_says_of_a_dead_actor_is_told_in_a_few_words() -> None:
    said = "The actor died.\n\tpid: 7\nThe actor is dead because its worker process has died. Worker exit type: {}"
    assert worker.cause_of_death(Exception(said.format("SYSTEM_ERROR"))) == "its worker process has died"
    assert (
        worker.cause_of_death(Exception(said.format("NODE_OUT_OF_MEMORY. Worker exit detail: ...")))
        == "its worker process has died (NODE_OUT_OF_MEMORY)"
    )
    assert worker.cause_of_death(ValueError("what\never")) == "ValueError: what"
