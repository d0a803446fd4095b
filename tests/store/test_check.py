"""Every kind of damage is found and named; after a repair nothing was deleted, and the rest can be used."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import caviar
from caviar import commits
from caviar.errors import FencedError, FolderError, LeaseError
from caviar.messages import (
    Checkpointed,
    CommandAnswered,
    DriverStarted,
    Reports,
    StageOpened,
    SweepStarted,
    TrialEnded,
    TrialSampled,
    TrialStarted,
)
from caviar.store import roller, segment
from caviar.store.check.findings import Severity, ranges, size, told
from caviar.store.check.look import Verdict, check
from caviar.store.check.repair import Done, repair
from caviar.store.files import Files
from caviar.store.layout import TABLES, SweepFolder
from caviar.store.lease import wall_clock_us
from caviar.store.part import encode_part, read_part
from caviar.store.place import place as place_of
from caviar.store.reader import Reader
from caviar.store.recorder import Recorder
from caviar.store.rows import to_row
from caviar.store.segment import SegmentKind
from caviar.store.tables import join

LOG_BYTES = 1000
SPACE = caviar.Space(lr=caviar.Float(0, 1))


def learns(trial: caviar.Trial) -> None:
    print("a word")
    for step in trial.steps():
        trial.report(loss=trial.params["lr"] / step, accuracy=step)
        if trial.checkpoint_due:
            with trial.checkpoint() as folder:
                (folder / "model").write_text("weights" * step)


SWEEP = caviar.Sweep(
    learns,
    SPACE,
    metric="loss",
    trials=8,
    max_step=20,
    checkpoint_every=5,
    keep_checkpoints="all",
    scheduler=caviar.Asha(grace_steps=4),
    sampler=caviar.SobolSampler(),
)


class AtOnce:
    """An executor of the standard library that does everything at once: so every delivery is a commit."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def submit(self, call: Callable[..., Any], *args: Any, **more: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(call(*args, **more))
        except BaseException as error:
            future.set_exception(error)
        return future

    def shutdown(self, *_: Any, **__: Any) -> None:
        pass


class Killed(BaseException):
    """From here on nothing has an effect."""


class Dying(caviar.Inline):
    """Its driver does not live to see the sixth trial."""

    polls = 0

    def poll(self, timeout_s: float) -> None:
        self.polls += 1
        if self.polls == 5:
            roller.ROLL_ROWS = 10**9
        if self.polls > 6:
            raise Killed
        super().poll(timeout_s)


@pytest.fixture(scope="module")
def small_commits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commits, "ThreadPoolExecutor", AtOnce)
        patch.setattr(commits, "COMMIT_S", 0.0)
        patch.setattr(roller, "ROLL_ROWS", 14)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, memory: Path | None) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("checked") if memory is None else memory / f"caviar-check-{random.random()}"
    path.mkdir(exist_ok=True)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def finished(place: Path, small_commits: None) -> Path:
    SWEEP.run(place / "finished", caviar.Inline())
    return place / "finished"


@pytest.fixture(scope="module")
def killed(place: Path, small_commits: None) -> Path:
    """As a killed driver leaves its folder: several parts, commits in `_hot`, the lease of a dead process."""
    path = place / "killed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roller, "ROLL_ROWS", 14)
        patch.setattr(Recorder, "close", lambda self, final=True: None)
        with pytest.raises(Killed):
            SWEEP.run(path, Dying())
    lease = json.loads((path / "lease.json").read_text())
    (path / "lease.json").write_text(json.dumps({**lease, "process_start": "long ago"}))
    assert len(list((path / "metrics").iterdir())) > 3
    assert len(list((path / "_hot").iterdir())) > 3
    return path


@pytest.fixture
def work(tmp_path: Path, killed: Path) -> Path:
    """A copy of the killed one, to be damaged."""
    shutil.copytree(killed, tmp_path / "sweep")
    return tmp_path / "sweep"


def look(path: Path) -> Verdict:
    return check(SweepFolder(path), log_bytes=LOG_BYTES)


def mend(path: Path, files: Files | None = None) -> Done:
    folder = SweepFolder(path) if files is None else SweepFolder(path, files)
    return repair(folder, look(path), log_bytes=LOG_BYTES)


def damages(verdict: Verdict) -> dict[str, str]:
    return {one.file: one.text for one in verdict.findings if one.severity is Severity.DAMAGE}


def of_severity(verdict: Verdict, severity: Severity) -> dict[str, str]:
    return {one.file: one.text for one in verdict.findings if one.severity is severity}


def rows(path: Path) -> tuple[Counter[Any], Counter[Any]]:
    metrics, events = Reader(path).read()
    return counted(metrics), counted(events)


def counted(table: Any) -> Counter[Any]:
    return Counter(tuple(row.values()) for row in table.to_pylist())


def every_file(path: Path) -> list[str]:
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())


def contents(path: Path) -> Counter[bytes]:
    return Counter(file.read_bytes() for file in path.rglob("*") if file.is_file() and file.name != "lease.json")


RNG = random.Random(7)


def flip(data: bytes) -> bytes:
    at = RNG.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << RNG.randrange(8)]) + data[at + 1 :]


def truncate(data: bytes) -> bytes:
    return data[: len(data) // 2]


def empty(data: bytes) -> bytes:
    return b""


def junk(data: bytes) -> bytes:
    return RNG.randbytes(300)


def remove(data: bytes) -> None:
    return None


Damage = Callable[[bytes], bytes | None]


def harm(file: Path, damage: Damage) -> None:
    data = damage(file.read_bytes())
    file.unlink()  # it may be a link to the file of another folder
    if data is not None:
        file.write_bytes(data)


# --- sound folders ------------------------------------------------------------------------------------------


def test_a_finished_sweep_has_no_findings(finished: Path) -> None:
    verdict = look(finished)
    assert not verdict.findings
    assert verdict.sound
    assert not verdict.held
    assert verdict.trials == 8
    assert verdict.reported.reports == len(caviar.load(finished).curves(attempts="all"))
    assert verdict.whole_until == verdict.commits - 1 > 20
    assert verdict.lost == {"metrics": (), "events": ()}


def test_a_killed_sweep_has_but_a_stale_lease(killed: Path) -> None:
    verdict = look(killed)
    assert verdict.sound
    assert {one.file: one.severity for one in verdict.findings} == {"lease.json": Severity.HARMLESS}
    assert verdict.trials == 7


def test_an_interrupted_sweep_has_no_findings(tmp_path: Path) -> None:
    def interrupt(item: Any) -> None:
        if isinstance(item, TrialStarted) and item.trial == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        SWEEP.run(tmp_path / "sweep", caviar.Inline(), on_event=interrupt)
    assert not look(tmp_path / "sweep").findings


def test_a_running_sweep_is_held_and_sound_at_every_moment(tmp_path: Path, small_commits: None) -> None:
    verdicts: list[Verdict] = []

    def observe(item: Any) -> None:
        if isinstance(item, Reports) and len(verdicts) < 30:
            verdicts.append(look(tmp_path / "sweep"))

    SWEEP.run(tmp_path / "sweep", caviar.Inline(), on_event=observe)
    assert len(verdicts) > 15
    for verdict in verdicts:
        assert verdict.sound, damages(verdict)
        assert verdict.held
        assert "held by process" in of_severity(verdict, Severity.NOTE)["lease.json"]


def test_a_new_sweep_that_nobody_drives_yet_is_sound(recorder: Recorder, folder: SweepFolder) -> None:
    assert look(folder.path).sound
    recorder.close()
    assert look(folder.path).sound


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir, Path.touch])
def test_what_is_no_sweep_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "other")
    with pytest.raises(FolderError, match=f"^{tmp_path}/other: "):
        look(tmp_path / "other")


# --- damage is found and named ------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [truncate, empty, junk, remove])
def test_whatever_is_done_to_a_file_is_found_and_named(work: Path, damage: Damage) -> None:
    files = every_file(work)
    last = max(name for name in files if name.startswith("_hot"))
    for name in files:
        if name in ("_hot/000000000000.arrow", last) and damage is remove:
            continue  # of the last commit nothing would say that there was one; the first is a seal, in parts too
        before = (work / name).read_bytes()
        harm(work / name, damage)
        verdict = look(work)
        if name in ("lease.json", ".sweep.copy") or name.startswith("logs/"):
            assert verdict.sound
        else:
            named = [file for file in damages(verdict) if file == name or name.startswith(f"{file}/")]
            assert named, (name, damages(verdict))
            assert all("\n" not in text for text in damages(verdict).values())
        (work / name).write_bytes(before)
    assert look(work).sound


@settings(max_examples=120, deadline=None, database=None)
@given(data=st.data())
def test_a_flipped_bit_is_found_or_changes_nothing(data: st.DataObject, killed: Path, finished: Path) -> None:
    path = data.draw(st.sampled_from([killed, finished]))
    everything = [
        name for name in every_file(path) if not name.startswith("checkpoints/") and name != "lease.json"
    ]
    file = path / data.draw(st.sampled_from(everything))
    before = file.read_bytes()
    whole = rows(path)
    at = data.draw(st.integers(0, max(0, len(before) - 1)))
    if not before:
        return
    file.write_bytes(before[:at] + bytes([before[at] ^ 1 << data.draw(st.integers(0, 7))]) + before[at + 1 :])
    try:
        assert not look(path).sound or rows(path) == whole
    finally:
        file.write_bytes(before)


def test_what_can_still_be_read_is_told(work: Path) -> None:
    parts = sorted((work / "metrics").iterdir())
    whole = look(work).reported.reports
    before = read_part(SweepFolder(work), f"metrics/{parts[2].name}")
    harm(parts[2], truncate)
    verdict = look(work)
    first = SweepFolder.part_first(parts[2].name)
    last = (SweepFolder.part_first(parts[3].name) or 0) - 1
    assert verdict.lost == {"metrics": ((first, last),), "events": ()}
    assert verdict.whole_until == (first or 0) - 1
    assert verdict.trials == 7
    lost = counted_reports(before)
    assert verdict.reported.reports == whole - lost > 0


def counted_reports(table: Any) -> int:
    return len(set(zip(*(table.column(name).to_pylist() for name in ("trial", "attempt", "seq")), strict=True)))


def test_a_part_or_commit_under_a_wrong_name_is_damage(work: Path) -> None:
    parts = sorted((work / "events").iterdir())
    shutil.copy(parts[1], work / "events" / "part-000000900000.parquet")
    hot = sorted((work / "_hot").iterdir())
    shutil.copy(hot[-1], work / "_hot" / f"{int(hot[-1].stem) + 1:012d}.arrow")
    found = damages(look(work))
    assert "not where its name says" in found["events/part-000000900000.parquet"]
    assert "not that of its name" in found[f"_hot/{int(hot[-1].stem) + 1:012d}.arrow"]


def test_parts_that_overlap_are_damage(work: Path) -> None:
    folder = SweepFolder(work)
    parts = sorted((work / "metrics").iterdir())
    first = SweepFolder.part_first(parts[1].name) or 0
    rows = read_part(folder, f"metrics/{parts[1].name}")
    folder.storage.create(
        folder.part("metrics", first + 1), encode_part(rows, first + 1, last=first + 2, nonce="0")
    )
    found = damages(look(work))
    assert list(found) == [folder.part("metrics", first + 1)]
    assert "doubled: commits" in found[folder.part("metrics", first + 1)]
    mend(work)
    assert look(work).sound


def test_a_commit_that_parts_cover_too_is_fine_and_a_damaged_one_costs_nothing(work: Path, killed: Path) -> None:
    Recorder.open(SweepFolder(work), now_us=wall_clock_us, take_over=True).close()
    whole = rows(work)
    for file in (killed / "_hot").iterdir():
        shutil.copy(file, work / "_hot")
    assert look(work).sound
    spent = max((killed / "_hot").iterdir()).name
    harm(work / "_hot" / spent, truncate)
    assert list(damages(look(work))) == [f"_hot/{spent}"]
    assert rows(work) == whole
    mend(work)
    assert look(work).sound
    assert not whole[0] - rows(work)[0]
    assert not whole[1] - rows(work)[1]


def test_a_part_whose_commits_are_still_hot_is_made_again(work: Path) -> None:
    """As a crash between the making of a part and the removal of its commits leaves it."""
    folder = SweepFolder(work)
    whole = rows(work)
    before = {file: file.read_bytes() for file in (work / "_hot").iterdir()}
    recorder = Recorder.open(folder, now_us=wall_clock_us, take_over=True)
    recorder.close()
    for file, data in before.items():
        file.write_bytes(data)
    for table in TABLES:
        harm(max((work / table).iterdir()), flip_first_page)
    assert len(damages(look(work))) == 2
    mend(work)
    assert rows(work)[0] == whole[0]
    assert not whole[1] - rows(work)[1]
    assert "nothing was lost" in of_severity(look(work), Severity.NOTE)[".damaged"]


def flip_first_page(data: bytes) -> bytes:
    return data[:30] + bytes([data[30] ^ 255]) + data[31:60] + bytes([data[60] ^ 255]) + data[61:]


# --- impossible rows ----------------------------------------------------------------------------------------


@pytest.fixture
def plain(tmp_path: Path, small_commits: None) -> Recorder:
    """A sweep of a real declaration, with two trials; its driver is gone, and the test writes on as it likes."""
    recorder = Recorder.create(SweepFolder(tmp_path / "sweep"), SWEEP.declaration("sweep"), now_us=wall_clock_us)
    started = DriverStarted(1, "host", 1, "0")
    story: list[Any] = [started, SweepStarted(1, 8), StageOpened(1, 0, SPACE.to_dict())]
    for trial in range(2):
        story += [TrialSampled(1, trial, 0, {"lr": 0.5}, 1), TrialStarted(1, trial, 0, "inline")]
    recorder.commit([], [to_row(event) for event in story])
    return recorder


def test_an_impossible_story_is_told_and_cannot_be_resumed(tmp_path: Path, plain: Recorder) -> None:
    plain.commit([], [to_row(TrialEnded(1, 0, 0, 5, "completed")), to_row(Checkpointed(1, 0, 0, 5))])
    plain.close()
    texts = damages(look(tmp_path / "sweep"))
    assert texts.pop("checkpoints/0/0/5") == "the checkpoint of trial 0 at step 5 is missing"
    (text,) = texts.values()
    assert text.startswith("checkpointed of trial 0 does not follow from what is recorded before it")
    assert len(caviar.load(tmp_path / "sweep").trials()) == 2
    with pytest.raises(FolderError, match="checkpointed of trial 0 does not follow") as caught:
        SWEEP.run(tmp_path / "sweep", caviar.Inline(), resume=True)
    assert "\n" not in str(caught.value)


def test_doubled_reports_and_events_and_strangers_are_damage(
    tmp_path: Path, plain: Recorder, block: Any, event: Any
) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    plain.commit([block([(0, 0, 0), (1, 0, 0)], "a", "b")], [])
    plain.close()
    again = segment.Segment(
        plain.commits,
        "0" * 32,
        SegmentKind.COMMIT,
        read_part(folder, max(f"metrics/{file.name}" for file in (folder.path / "metrics").iterdir())),
        read_part(folder, max(f"events/{file.name}" for file in (folder.path / "events").iterdir())).slice(5),
    )
    folder.storage.create(folder.hot(plain.commits), segment.encode(again))
    texts = [one.text for one in look(folder.path).findings if one.severity is Severity.DAMAGE]
    assert texts[0] == "2 reports are doubled, by (trial, attempt, seq), among them of trial 0"
    assert "event 5 comes after event 6: doubled, or out of order" in texts


def test_reports_of_trials_never_sampled_and_missing_events_are_damage(
    tmp_path: Path, plain: Recorder, block: Any, event: Any
) -> None:
    plain.commit([block([(0, 0, 0), (7, 0, 0), (7, 0, 1), (5, 0, 0)])], [])
    plain._next_event += 3
    plain.commit([], [to_row(CommandAnswered(1, "1", True, "yes"))])
    plain.close()
    texts = damages(look(tmp_path / "sweep"))
    assert texts["metrics"] == "there are reports of 2 trials that no event says were sampled: 5, 7"
    assert "the events 7 to 9 are missing before event 10" in texts.values()


# --- beside the tables --------------------------------------------------------------------------------------


def test_what_does_no_harm_is_named_as_such(work: Path) -> None:
    (work / "notes.txt").write_text("mine")
    (work / "_hot" / "readme").write_text("mine")
    (work / "metrics" / "_note").write_text("mine")
    (work / ".tmp" / "metrics-0123").write_text("cut off")
    (work / "logs").mkdir()
    (work / "logs" / "0.log").write_text("x" * 3000)
    (work / "logs" / "words").write_text("")
    (work / "checkpoints" / "readme").write_text("mine")
    (work / "checkpoints" / "0" / "0" / "5" / "extra").write_text("mine")
    shutil.copytree(work / "checkpoints" / "0" / "0" / "5", work / "checkpoints" / "0" / "9" / "5")
    for number in range(15):
        (work / "inbox" / f"{number}.bad").write_text("no command")
    (work / "inbox" / "17.json").write_text("{}")
    (work / "inbox" / "command").write_text("{}")
    verdict = look(work)
    assert verdict.sound
    found = of_severity(verdict, Severity.HARMLESS)
    assert found["notes.txt"] == found["metrics/_note"] == "not caviar's; everybody passes it over"
    assert found["_hot/readme"].startswith("not a commit's name")
    assert found[".tmp"].startswith("1 files on their way, 7 bytes")
    assert found["logs/0.log"] == "2.9 KiB: longer than a log may be, 1000 bytes"
    assert found["logs/words"].startswith("not a log's name")
    assert found["checkpoints/readme"].startswith("not a checkpoint's")
    assert found["checkpoints/0/0/5/extra"].startswith("not listed")
    assert found["checkpoints"].startswith("1 checkpoints that no trial goes on from")
    assert "checkpoints/0/9/5 (" in found["checkpoints"]
    assert found["inbox"].startswith("5 more of this kind")
    assert found["inbox/17.json"].startswith("a command that no driver has answered")
    assert found["inbox/command"].startswith("not a command's name")
    before = contents(work)
    assert mend(work) == Done((), ())
    assert contents(work) == before


def test_folders_that_a_copy_left_out_are_made_by_the_next_driver(work: Path) -> None:
    whole = rows(work)
    for name in ("inbox", ".tmp"):
        shutil.rmtree(work / name)
    verdict = look(work)
    assert verdict.sound
    assert of_severity(verdict, Severity.HARMLESS)["inbox"] == "the folder is missing; the next driver makes it"
    assert SWEEP.run(work, caviar.Inline(), resume=True).status == "finished"
    assert not whole[0] - rows(work)[0]


@pytest.mark.parametrize("name", ["part-000000000001.parquet.crc", "sub/data.csv", "empty.parquet"])
def test_what_pandas_would_trip_over_is_damage_and_set_aside(work: Path, name: str) -> None:
    file = work / "metrics" / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"" if name.startswith("empty") else b"mine")
    with pytest.raises(Exception, match="arquet"):
        pd.read_parquet(work / "metrics")
    found = damages(look(work))
    assert found == {f"metrics/{name}": "not caviar's: pandas.read_parquet on metrics/ trips over it"}
    assert mend(work).aside == [f"metrics/{name}"]
    assert (work / ".damaged" / "metrics" / name).exists()
    assert look(work).sound
    assert len(pd.read_parquet(work / "metrics")) > 0


# --- repair -------------------------------------------------------------------------------------------------


def test_a_folder_that_is_driven_is_not_repaired(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    refusals: list[str] = []

    def observe(item: Any) -> None:
        if isinstance(item, TrialStarted) and item.trial == 3:
            (path / "metrics" / "stranger").write_bytes(b"")
            with pytest.raises(LeaseError) as caught:
                mend(path)
            refusals.append(str(caught.value))
            assert not (path / ".damaged").exists()

    SWEEP.run(path, caviar.Inline(), on_event=observe)
    (refusal,) = refusals
    assert "is being driven by process" in refusal
    assert "\n" not in refusal


def test_a_driver_that_wakes_after_a_repair_is_fenced(tmp_path: Path, plain: Recorder, event: Any) -> None:
    path = tmp_path / "sweep"
    (path / "lease.json").unlink()
    (path / "metrics" / "stranger").write_bytes(b"")
    mend(path)
    with pytest.raises(FencedError):
        plain.commit([], [event(7)])
    assert look(path).sound


def lost_rows(killed: Path, names: Sequence[str]) -> tuple[Counter[Any], Counter[Any]]:
    """The rows that lie in these files and nowhere else."""
    folder = SweepFolder(killed)
    found: dict[str, list[Any]] = {table: [] for table in TABLES}
    for name in names:
        inside = name.partition("/")[0]
        if inside == "_hot":
            content = segment.decode(name, (killed / name).read_bytes())
            if content.commit == 0:
                continue
            for table in TABLES:
                found[table].append(content.rows(table))
        elif inside in TABLES:
            found[inside].append(read_part(folder, name))
    return counted(join(found["metrics"], "metrics")), counted(join(found["events"], "events"))


OWN = ("events_lost", "repaired", "checkpoint_lost")


def check_repaired(work: Path, killed: Path, names: Sequence[str]) -> None:
    """Damage, repair, and what is promised of it."""
    before = contents(work)
    whole = rows(killed)
    mend(work)
    assert not before - contents(work), "something was deleted"
    verdict = look(work)
    assert verdict.sound, damages(verdict)
    assert ".damaged" in of_severity(verdict, Severity.NOTE)
    metrics, events = rows(work)
    lost_metrics, lost_events = lost_rows(killed, names)
    assert metrics == whole[0] - lost_metrics
    ours = Counter({row: count for row, count in events.items() if row[2] not in OWN})
    assert ours == whole[1] - lost_events
    seqs = [row[0] for row in events]
    assert len(set(seqs)) == len(seqs)
    result = caviar.load(work)
    for frame in (result.trials(), result.curves(attempts="all"), result.curves(params=["lr"]), result.events()):
        assert len(frame) >= 0
    assert len(result.trials()) == sum(row[2] == "trial_sampled" for row in ours)


COMMIT_FILES = ("_hot/", "metrics/", "events/")


def test_every_commit_and_part_can_be_lost_and_the_rest_is_kept(tmp_path: Path, killed: Path) -> None:
    files = [name for name in every_file(killed) if name.startswith(COMMIT_FILES)]
    last = max(name for name in files if name.startswith("_hot"))
    for number, name in enumerate(files):
        work = tmp_path / f"{number}"
        shutil.copytree(killed, work, copy_function=os.link)
        damage = [truncate, empty, junk, remove][number % 4]
        harm(work / name, truncate if name in ("_hot/000000000000.arrow", last) else damage)
        check_repaired(work, killed, [name])
        shutil.rmtree(work)


@pytest.mark.parametrize("seed", range(6))
def test_many_files_can_be_lost_at_once_and_it_is_resumed(tmp_path: Path, killed: Path, seed: int) -> None:
    random_ = random.Random(seed)
    files = [name for name in every_file(killed) if name.startswith(COMMIT_FILES)]
    names = random_.sample(files, random_.randrange(2, 8))
    work = tmp_path / "sweep"
    shutil.copytree(killed, work)
    for name in names:
        harm(work / name, random_.choice([truncate, empty, junk]))
    check_repaired(work, killed, names)
    before = rows(work)
    check_resumed(work)
    assert not before[0] - rows(work)[0]
    assert not before[1] - rows(work)[1]


def check_resumed(work: Path) -> caviar.Result:
    result = SWEEP.run(work, caviar.Inline(), resume=True)
    assert result.status == "finished"
    assert set(result.trials().status) <= {"completed", "stopped"}
    verdict = look(work)
    assert verdict.sound, damages(verdict)
    curves = result.curves(attempts="all")
    assert not curves.duplicated(["trial", "attempt", "step"]).any()
    return result


def test_lost_metrics_alone_cost_no_trial(work: Path) -> None:
    harm(sorted((work / "metrics").iterdir())[1], truncate)
    mend(work)
    result = check_resumed(work)
    assert len(result.trials()) == 8
    event = result.events().query("kind == 'repaired'").iloc[0]
    assert list(event.data["lost"]) == ["metrics"]
    assert event.data["aside"] == [f"metrics/{file.name}" for file in (work / ".damaged" / "metrics").iterdir()]
    assert "events_lost" not in set(result.events().kind)


def test_trials_whose_params_are_lost_are_passed_over_and_no_number_is_used_twice(
    work: Path, killed: Path
) -> None:
    for file in (work / "events").iterdir():
        if file.name != "part-000000000000.parquet":
            harm(file, empty)
    reported = set(caviar.load(killed).curves().trial)
    mend(work)
    lost = caviar.load(work)
    assert set(lost.curves().trial) == reported
    assert set(lost.trials().index) < reported | {6}
    assert lost.curves(params=["lr"])["params.lr"].isna().any()
    result = check_resumed(work)
    assert 7 in result.trials().index
    assert set(result.curves().trial) == set(range(8))


def test_sweep_json_is_made_again_from_its_copy(work: Path) -> None:
    before = (work / "sweep.json").read_bytes()
    for damage in (truncate, empty, junk, remove, lambda data: data.replace(b'"loss"', b'"lost"')):
        harm(work / "sweep.json", damage)
        assert "sweep.json" in damages(look(work))
        mend(work)
        assert (work / "sweep.json").read_bytes() == before
        assert look(work).sound
    assert len(list((work / ".damaged").iterdir())) == 4  # one was gone, and not only damaged


def test_a_damaged_copy_of_sweep_json_is_never_taken_for_the_truth(work: Path) -> None:
    before = (work / "sweep.json").read_bytes()
    for damage in (truncate, empty, lambda data: data.replace(b'"loss"', b'"lost"')):
        harm(work / ".sweep.copy", damage)
        verdict = look(work)
        assert verdict.sound
        assert of_severity(verdict, Severity.HARMLESS)[".sweep.copy"] == "a copy of sweep.json that is damaged"
        mend(work)
        assert (work / "sweep.json").read_bytes() == before


def test_without_a_copy_of_sweep_json_nothing_is_made_up(work: Path) -> None:
    (work / ".sweep.copy").unlink()
    assert look(work).sound, "as the first version made it"
    (work / "sweep.json").unlink()
    before = contents(work)
    assert "there is no copy of it" in damages(look(work))["sweep.json"]
    with pytest.raises(FolderError, match="put one there first") as caught:
        mend(work)
    assert "\n" not in str(caught.value)
    assert contents(work) == before


# --- checkpoints --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        ("model", truncate, "model has"),
        ("model", remove, "lacks model"),
        ("_checkpoint.json", remove, "has no _checkpoint.json"),
        ("_checkpoint.json", truncate, "has a damaged _checkpoint.json"),
        (".", None, "is missing"),
    ],
)
def test_a_damaged_checkpoint_is_set_aside_and_an_older_one_is_gone_on_from(
    tmp_path: Path, small_commits: None, name: str, damage: Damage | None, says: str
) -> None:
    path = tmp_path / "sweep"

    def interrupt(item: Any) -> None:
        if isinstance(item, Checkpointed) and (item.trial, item.step) == (0, 15):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        SWEEP.run(path, caviar.Inline(), on_event=interrupt)
    (newest,) = [file for file in path.glob("checkpoints/0/*/*") if file.name == "15"]
    if damage is None:
        shutil.rmtree(newest)
    else:
        harm(newest / name, damage)
    key = newest.relative_to(path).as_posix()
    (text,) = [text for file, text in damages(look(path)).items() if file == key]
    assert says in text
    before = contents(path)
    mend(path)
    assert not before - contents(path)
    assert look(path).sound
    events = caviar.load(path).events()
    assert events[events.kind == "checkpoint_lost"].step.tolist() == [15]
    result = check_resumed(path)
    starts = result.events().query("kind == 'trial_started' and trial == 0")
    assert [data.get("restored") for data in starts.data] == [None, 10]
    assert len(result.trials()) == 8


def test_without_an_older_checkpoint_the_trial_starts_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "sweep"

    def interrupt(item: Any) -> None:
        if isinstance(item, Checkpointed):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        SWEEP.but(keep_checkpoints="last").run(path, caviar.Inline(), on_event=interrupt)
    harm(path / "checkpoints" / "0" / "0" / "5" / "model", truncate)
    mend(path)
    result = SWEEP.but(keep_checkpoints="last").run(path, caviar.Inline(), resume=True)
    starts = result.events().query("kind == 'trial_started' and trial == 0")
    assert [data.get("restored") for data in starts.data] == [None, None]
    assert look(path).sound


# --- a repair that is cut off -------------------------------------------------------------------------------


class CutOff(Files):
    """Files of which nothing has an effect after so many operations that change something."""

    def __init__(self, left: int) -> None:
        self._left = left

    def _change(self, change: Callable[..., None], *args: Any) -> None:
        if self._left == 0:
            raise Killed
        self._left -= 1
        change(*args)

    def write(self, path: Path, data: bytes) -> None:
        self._change(super().write, path, data)

    def link(self, source: Path, target: Path) -> None:
        self._change(super().link, source, target)

    def rename(self, source: Path, target: Path) -> None:
        self._change(super().rename, source, target)

    def unlink(self, path: Path) -> None:
        self._change(super().unlink, path)

    def make_folders(self, path: Path) -> None:
        self._change(super().make_folders, path)


def test_a_repair_that_is_cut_off_at_any_operation_is_done_again(tmp_path: Path, killed: Path) -> None:
    names = [
        max(name for name in every_file(killed) if name.startswith("metrics/")),
        sorted(name for name in every_file(killed) if name.startswith("events/"))[1],
        sorted(name for name in every_file(killed) if name.startswith("_hot/"))[2],
    ]
    lost_metrics, lost_events = lost_rows(killed, names)
    whole = rows(killed)
    for left in range(200):
        work = tmp_path / f"{left}"
        shutil.copytree(killed, work, copy_function=os.link)
        (work / "lease.json").unlink()
        for name in names:
            harm(work / name, truncate)
        before = contents(work)
        try:
            mend(work, CutOff(left))
        except Killed:
            done = False
        else:
            done = True
        (work / "lease.json").unlink(missing_ok=True)  # that of this very process, which lives on
        mend(work)
        assert not before - contents(work)
        verdict = look(work)
        assert verdict.sound, damages(verdict)
        metrics, events = rows(work)
        assert metrics == whole[0] - lost_metrics
        assert Counter({row: n for row, n in events.items() if row[2] not in OWN}) == whole[1] - lost_events
        named = {
            name
            for row in Reader(work).read()[1].to_pylist()
            if row["kind"] == "repaired"
            for name in json.loads(row["data"])["aside"]
        }
        assert set(names) <= named
        shutil.rmtree(work)
        if done:
            break
    assert done
    assert left > 20


# --- words --------------------------------------------------------------------------------------------------


def test_ranges_and_sizes_in_words() -> None:
    assert ranges([1, 2, 3, 7, 9, 10]) == ((1, 3), (7, 7), (9, 10))
    assert ranges([]) == ()
    assert told(((1, 3), (7, 7))) == "commits 1 to 3, 7"
    assert told(((7, 7),)) == "commit 7"
    assert told(()) == "no commit"
    assert [size(n) for n in (0, 1023, 1024, 3 * 2**20, 2**31)] == [
        "0 bytes",
        "1023 bytes",
        "1.0 KiB",
        "3.0 MiB",
        "2.0 GiB",
    ]


# --- object stores ------------------------------------------------------------------------------------------


def test_a_sweep_in_an_object_store_is_checked_and_repaired(s3: str, small_commits: None) -> None:
    SWEEP.run(s3, caviar.Inline())
    folder = SweepFolder(place_of(s3))
    verdict = check(folder, log_bytes=LOG_BYTES)
    assert not verdict.findings
    before = dict(folder.storage.walk(""))
    part = max(f"metrics/{name}" for name in folder.storage.names("metrics"))
    checkpoint = "checkpoints/0/0/20/model"
    data = folder.storage.read(part)
    folder.storage.replace(part, data[:-50])
    folder.storage.replace("metrics/stranger.csv", b"mine")
    folder.storage.unlink(checkpoint)
    verdict = check(folder, log_bytes=LOG_BYTES)
    assert list(damages(verdict)) == ["metrics/stranger.csv", part, "checkpoints/0/0/20"]
    repair(folder, verdict, log_bytes=LOG_BYTES)
    assert folder.storage.read(f".damaged/{part}") == data[:-50]
    assert folder.storage.read(".damaged/metrics/stranger.csv") == b"mine"
    assert before.keys() - dict(folder.storage.walk("")).keys() == {
        checkpoint,
        "checkpoints/0/0/20/_checkpoint.json",
    }
    assert check(folder, log_bytes=LOG_BYTES).sound
    result = SWEEP.run(s3, caviar.Inline(), resume=True)
    assert len(result.trials()) == 8
    assert check(folder, log_bytes=LOG_BYTES).sound
