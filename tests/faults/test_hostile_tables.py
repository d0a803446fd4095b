"""A folder from a stranger: tables and events that no recorder wrote, and small files that stand for much."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import caviar
from caviar.cli import main
from caviar.errors import UsageError
from caviar.messages import (
    SweepEnded,
)
from caviar.store import part, segment
from caviar.store.rows import to_row
from caviar.store.tables import METRICS, events_table, metrics_table
from tests.faults.hostile import (
    COMMANDS,
    DEEP,
    DEEPISH,
    FEW,
    NO_EVENTS,
    NO_METRICS,
    NOW_US,
    PART,
    SOUND_DATA,
    as_part,
    command,
    commands,
    copy_of,
    everything,
    fuzz,
    hot,
    in_a_process,
    one_event,
    one_report,
    opens,
    put,
    reports,
    story,
    tables,
    told,
    with_one_odd,
)

# --- tables that no recorder wrote -------------------------------------------------------------------


@pytest.mark.parametrize("write", [hot, as_part])
def test_rows_that_are_sound_are_read_either_way(sweep: Callable[[], Path], write: Callable[..., None]) -> None:
    path = sweep()
    write(path, metrics_table([reports(1)]), events_table([to_row(SweepEnded(NOW_US + 11, "done"))], 20))
    assert everything(path) == [None, None, None]


@pytest.mark.parametrize(
    "changed",
    [
        {"commit": "4"},
        {"commit": "-3"},
        {"commit": "three"},
        {"commit": "9" * 5_000},
        {"kind": "surprise"},
        {"kind": "seal"},
        {"format": "2"},
        {"format": "\udcff".encode("utf-8", "surrogateescape").decode("latin-1")},
        {"metrics": ""},
        {"events": ""},
    ],
)
def test_a_commit_that_is_not_what_it_says(sweep: Callable[[], Path], changed: dict[str, str]) -> None:
    path = sweep()
    hot(path, NO_METRICS, events_table([to_row(SweepEnded(NOW_US, "done"))], 20), **changed)
    for error in everything(path, FEW):
        assert "_hot/000000000003.arrow: " in str(error)


@pytest.mark.parametrize("missing", ["metrics", "events", "metrics events"])
def test_a_folder_without_parts(sweep: Callable[[], Path], missing: str) -> None:
    path = sweep()
    for which in ("_hot", *missing.split()):
        for file in (path / which).iterdir():
            file.unlink()
    events = events_table([to_row(event) for event in story()], 0)
    content = segment.Segment(0, "n", segment.SegmentKind.COMMIT, metrics_table([reports(0, 1)]), events)
    (path / "_hot" / "000000000000.arrow").write_bytes(segment.encode(content))
    errors = everything(path)
    assert " " in missing or all(errors)


@pytest.mark.parametrize(
    "changed",
    [
        {"first_commit": "0"},
        {"last_commit": "-1"},
        {"last_commit": "x"},
        {"last_commit": "0"},
        {"last_commit": str(2**62)},
        {"last_commit": str(10**12 - 1)},
        {"nonce": b"\xff"},
        {"nonce": None},
        {"format": None},
    ],
)
@pytest.mark.parametrize("which", ["metrics", "events"])
def test_a_part_that_is_not_what_it_says(
    sweep: Callable[[], Path], which: str, changed: dict[str, bytes | str | None]
) -> None:
    path = sweep()
    table = pq.read_table(path / which / PART)
    metadata = {key: value for key, value in table.schema.metadata.items() if key.startswith(b"caviar")}
    for name, value in changed.items():
        key = f"caviar.{name}".encode()
        metadata.pop(key)
        if value is not None:
            metadata[key] = value.encode() if isinstance(value, str) else value
    pq.write_table(table.replace_schema_metadata(metadata), path / which / PART)
    for error in everything(path, FEW):
        assert f"{which}/part-" in str(error)


BAD_TABLES: dict[str, tuple[pa.Table, pa.Table]] = {
    **{f"{name} null": (one_report(**{name: None}), NO_EVENTS) for name in METRICS.names},
    **{f"event {name} null": (NO_METRICS, one_event(**{name: None})) for name in ("seq", "time", "kind", "data")},
    **{
        f"{name} {value}": (one_report(**{name: value}), NO_EVENTS)
        for name in ("trial", "seq", "step", "time")
        for value in (-1, -(2**62), 2**62 + 1)
    },
    **{
        f"{kind} {name} {value}": (NO_METRICS, one_event(kind, **{name: value}))
        for kind in ("trial_started", "noted")
        for name in ("seq", "trial", "step", "time")
        for value in (-1, 2**62 + 1)
    },
    "trial 2**27": (one_report(trial=2**27), NO_EVENTS),
    "attempt -1": (one_report(attempt=-1), NO_EVENTS),
    "reserved": (one_report(metric="trial"), NO_EVENTS),
    "a column more": (one_report().append_column("more", pa.array([1])), NO_EVENTS),
    "a column less": (one_report().drop_columns(["seq"]), NO_EVENTS),
    "another order": (one_report().select(METRICS.names[::-1]), NO_EVENTS),
    "other types": (one_report().set_column(0, "trial", pa.array([1.5])), NO_EVENTS),
    "plain metric": (one_report().set_column(5, "metric", pa.array(["loss"])), NO_EVENTS),
    "local times": (one_report().set_column(4, "time", pa.array([NOW_US], pa.timestamp("us"))), NO_EVENTS),
    "data is binary": (NO_METRICS, one_event().set_column(6, "data", pa.array([b"{}"]))),
    "swapped": (one_event(), one_report()),
    "a null metric": (
        one_report().set_column(
            5, "metric", pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), pa.array([None], pa.string()))
        ),
        NO_EVENTS,
    ),
    "not UTF-8": (
        NO_METRICS,
        one_event().set_column(6, "data", pa.array([b"\xff"]).view(pa.string())),
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("what", "write"),
    # Parquet knows no null within a dictionary
    [
        (what, write)
        for what in BAD_TABLES
        for write in (hot, as_part)
        if (what, write) != ("a null metric", as_part)
    ],
)
def test_tables_that_no_recorder_wrote(sweep: Callable[[], Path], write: Callable[..., None], what: str) -> None:
    path = sweep()
    write(path, *BAD_TABLES[what])
    for error in everything(path, FEW[:1])[:2]:
        assert "000000000003.arrow" in str(error) or "part-000000000002.parquet" in str(error)


@pytest.mark.parametrize(
    ("kind", "data", "changed"),
    [
        *((kind, data, {}) for kind in SOUND_DATA for data in ("", "nonsense", "[]", "null", "{},{}", "{}]", "1")),
        *((kind, "{}", {}) for kind in SOUND_DATA if kind not in ("checkpointed",)),
        *(("trial_ended", f'{{"status":{status}}}', {}) for status in ("1", '"surprise"', '"<script>"', "null")),
        *(("noted", text, {}) for text in (DEEP, '{"a":' + DEEPISH + "}", '{"a":"\\ud800"}')),
        ("trial_sampled", '{"stage":0,"params":{"lr":[1]},"seed":1}', {"trial": 3}),
        ("trial_sampled", '{"stage":1e5,"params":{},"seed":1}', {"trial": 3}),
        ("trial_sampled", '{"stage":0,"params":{},"seed":1}', {"trial": 0}),  # a second time
        ("trial_sampled", '{"stage":0,"params":{},"seed":1}', {"trial": 9}),
        ("trial_sampled", '{"stage":' + "9" * 30 + ',"params":{},"seed":1}', {"trial": 3}),
        ("trial_started", '{"worker":"w","restored":' + "9" * 30 + "}", {}),
        ("trial_started", '{"worker":"w"}', {"trial": 77}),
        ("trial_started", '{"worker":"w"}', {"trial": None}),
        ("trial_ended", '{"status":"failed"}', {"trial": 77}),
        ("trial_ended", '{"status":"failed"}', {"attempt": None}),
        ("trial_ended", '{"status":"failed"}', {"step": None}),
        ("decision", '{"rung":1,"value":"much","decision":"stop"}', {}),
        ("decision", '{"rung":1,"value":1' + "0" * 400 + ',"decision":"stop"}', {}),
        ("stage_opened", '{"stage":1,"space":{"params":[1]}}', {}),
        ("stage_opened", '{"stage":1,"space":{}}', {}),
        ("sweep_started", '{"trials":"many"}', {}),
        ("command_answered", '{"id":1,"applied":1,"text":1}', {}),
    ],
)
def test_events_that_cannot_be(
    sweep: Callable[[], Path], kind: str, data: str, changed: dict[str, int | None]
) -> None:
    path = sweep()
    hot(path, NO_METRICS, one_event(kind, data, **changed))
    errors = [told(call, path) for call in (tables, opens)]
    statuses = commands(path, [["status"], ["events", "--json"], ["trials"]])
    # what is of no interest to a command may stay unseen, but some have to look
    assert any(errors) or 2 in statuses


def test_kinds_that_are_unknown_are_skipped(sweep: Callable[[], Path]) -> None:
    path = sweep()
    hot(path, NO_METRICS, one_event("surprise", '{"any":["thing",{"a":1}]}', trial=None, attempt=None, step=None))
    assert everything(path) == [None, None, None]
    assert "surprise" in CliRunner().invoke(main, ["events", str(path)]).output


def test_reports_of_a_trial_that_was_never_sampled(sweep: Callable[[], Path]) -> None:
    path = sweep()
    hot(path, one_report(trial=2**27 - 1), NO_EVENTS)
    errors = everything(path)
    assert "trial 134217727, which was never sampled" in str(errors[0])


def test_a_metric_that_nobody_reported(sweep: Callable[[], Path]) -> None:
    path = sweep()
    content = json.loads((path / "sweep.json").read_text())
    (path / "sweep.json").write_text(json.dumps({**content, "metric": "other"}))
    assert everything(path) == [None, None, None]


@fuzz(40)
@given(kind=st.sampled_from(sorted(SOUND_DATA)), data=st.data())
def test_events_that_say_something_odd(whole: Path, kind: str, data: st.DataObject) -> None:
    content = data.draw(with_one_odd(json.loads(SOUND_DATA[kind].data)))
    with copy_of(whole) as path:
        hot(path, NO_METRICS, one_event(kind, json.dumps(content), trial=data.draw(st.sampled_from([0, 1, 3]))))
        everything(path, data.draw(st.lists(st.sampled_from(COMMANDS), min_size=2, max_size=2)))


# --- small files that stand for much -----------------------------------------------------------------


def test_a_part_of_few_bytes_that_stand_for_many_rows(
    sweep: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, "SMALL_ROWS", 2**16)
    path = sweep()
    rows = 2**22
    column = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), rows), pa.array(["loss"]))
    metadata = pq.read_metadata(path / "metrics" / PART).metadata
    table = pa.table({"metric": column}).replace_schema_metadata(
        {key: value for key, value in metadata.items() if key.startswith(b"caviar")}
    )
    pq.write_table(table, path / "metrics" / PART, compression="zstd")
    assert (path / "metrics" / PART).stat().st_size < rows / 100
    assert "rows are too many" in str(told(tables, path))


def test_a_part_that_unpacks_to_far_more_than_it_has_room_for(
    sweep: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, "SMALL_BYTES", 2**20)  # a gigabyte would take this test a minute
    path = sweep()
    text = '{"a":"' + "a" * 2**20 + '"}'
    rows = one_event(data=text).take(pa.array([0] * 20))
    metadata = pq.read_metadata(path / "events" / PART).metadata
    told_of = {key: value for key, value in metadata.items() if key.startswith(b"caviar")}
    table = rows.replace_schema_metadata(told_of)
    pq.write_table(table, path / "events" / PART, compression="zstd", use_dictionary=False)
    assert "unpacked are too many" in str(told(tables, path))


def test_as_many_metrics_as_reports_are_refused_as_a_wide_table(sweep: Callable[[], Path]) -> None:
    path = sweep()
    count = 20_000
    rows = one_report().take(pa.array([0] * count))
    rows = rows.set_column(2, "seq", pa.array(range(4, count + 4)))
    rows = rows.set_column(5, "metric", pa.array([f"m{n}" for n in range(count)]).dictionary_encode())
    hot(path, rows, NO_EVENTS)
    result = caviar.load(path)
    with pytest.raises(UsageError, match="too many names"):
        result.curves()
    assert len(result.curves(tidy=True)) == count + 24
    assert command("curves", str(path), "--csv") == 2


def test_a_high_number_of_a_trial_takes_no_memory(sweep: Callable[[], Path]) -> None:
    path = sweep()
    hot(path, one_report(trial=2**27 - 1), NO_EVENTS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    opens(path)
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
    )  # kilobytes; it could be 1.6 million


@pytest.mark.parametrize(
    ("name", "kind"), [("_hot/000000000002.arrow", "hole"), (f"events/{PART}", "pipe"), ("sweep.json", "link")]
)
def test_the_command_line_in_a_process(sweep: Callable[[], Path], name: str, kind: str) -> None:
    path = sweep()
    put(kind, path / name)
    done = in_a_process("status", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"caviar: error: {path / name}: ")
    assert done.stderr.count("\n") == 1
