"""What is exported reads back as it was, with pandas and with TensorBoard's own reader."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

import caviar
from caviar.errors import CaviarError, UsageError
from caviar.space import Choice, Float, Space

NAN, INF = float("nan"), float("inf")
ODD = [0.1 + 0.2, 5e-324, 1.7976931348623157e308, -1 / 3, 1e22, -0.0]
SPACE = Space(
    lr=Float(1e-4, 1.0, scale="log"),
    kind=Choice(["plain", 'a "quoted", text', "two\r\nlines", "", 3, True, None]),
    depth=Choice([1, 2], when={"kind": "plain"}),
    bias=Choice([True, False]),
)


@pytest.fixture
def told(story):
    """Trials of every end, odd numbers and odd texts, and one that was tried twice."""
    tale = story(space=SPACE, max_step=None, trials=9)
    kinds = SPACE["kind"].values
    tale.trial(0, ODD, lr=0.1, kind=kinds[0], depth=2, bias=True)
    tale.trial(1, [1.0, NAN, INF, -INF], "stopped", lr=0.2, kind=kinds[1], bias=False)
    tale.sampled(2, lr=0.3, kind=kinds[2], bias=True).started(2)
    tale.report(2, 1, loss=0.5, accuracy=0.25).report(2, 2, accuracy=NAN).report(2, 2, loss=0.25)
    tale.ended(2, "failed", reason='ValueError: "no", it\nsaid')
    tale.sampled(3, lr=0.4, kind=kinds[3], bias=True).started(3, 1).curve(3, [4.0, 3.0, 2.0])
    tale.started(3, 2, restored=1).curve(3, [2.5, 2.25], attempt=2, first=2).ended(3, "completed", 2)
    tale.sampled(4, lr=0.5, kind=kinds[4], bias=True).started(4).curve(4, [1.0])
    tale.sampled(5, lr=0.6, kind=kinds[5], bias=True).started(5).ended(5, "failed", reason="it exited")
    tale.sampled(6, lr=0.7, kind=kinds[6], bias=False)
    return tale


def read(path: Path, **how: Any) -> pd.DataFrame:
    if int(pd.__version__.split(".")[0]) < 3:
        how["float_precision"] = "round_trip"
    return pd.read_csv(path, **how)


def same_times(found: pd.Series, expected: pd.Series) -> bool:
    return pd.to_datetime(found).astype(expected.dtype).tolist() == expected.tolist()


def test_curves_read_back_to_the_last_bit(told, tmp_path):
    result = told.result()
    folder = result.export(tmp_path / "out")
    found, expected = read(folder / "curves.csv"), result.curves()
    assert list(found.columns) == list(expected.columns)
    for name in ("trial", "step"):
        assert found[name].tolist() == expected[name].tolist()
    for name in ("loss", "accuracy"):
        assert found[name].to_numpy(float).tobytes() == expected[name].to_numpy(float).tobytes()
    assert same_times(found["time"], expected["time"])


def test_a_metric_that_is_lacking_is_empty_and_one_that_is_nan_is_not(told, tmp_path):
    folder = told.result().export(tmp_path / "out", trials=[2])
    lines = [line.split(",") for line in (folder / "curves.csv").read_text().splitlines()]
    assert lines[0] == ['"trial"', '"step"', '"time"', '"loss"', '"accuracy"']
    assert [line[3:] for line in lines[1:]] == [["0.5", "0.25"], ["", "nan"], ["0.25", ""]]


def test_trials_read_back(told, tmp_path):
    result = told.result("running")
    folder = result.export(tmp_path / "out")
    found, expected = read(folder / "trials.csv"), result.trials().reset_index()
    assert [name for name in found.columns if name not in ("best", "best_step")] == list(expected.columns)
    assert found["status"].tolist() == expected["status"].tolist()
    assert found["reason"].dropna().tolist() == ['ValueError: "no", it\nsaid', "it exited"]
    assert found["by_hand"].tolist() == [False] * 7
    assert found["params.lr"].tolist() == expected["params.lr"].tolist()
    assert found["params.bias"].tolist() == expected["params.bias"].tolist()
    assert found["params.depth"].tolist()[0] == 2
    assert found["params.depth"].isna().tolist() == [False] + [True] * 6
    as_text = read(folder / "trials.csv", keep_default_na=False)
    assert as_text["params.kind"].tolist() == [str(value) for value in SPACE["kind"].values]
    assert same_times(found["start_time"].dropna(), expected["start_time"].dropna())
    assert found["start_time"].isna().tolist() == expected["start_time"].isna().tolist()
    best = result.top(9).sort_index()
    assert found.dropna(subset=["best"])["trial"].tolist() == best.index.tolist() == [0, 1, 2, 3, 4]
    assert found["best"].dropna().tolist() == best["value"].tolist()
    assert found["best_step"].dropna().tolist() == best["step"].tolist()


def test_events_read_back(told, tmp_path):
    result = told.result()
    folder = result.export(tmp_path / "out")
    found, expected = read(folder / "events.csv"), result.events()
    assert list(found.columns) == list(expected.columns)
    assert found["kind"].tolist() == expected["kind"].tolist()
    assert [json.loads(data) for data in found["data"]] == expected["data"].tolist()
    for name in ("seq", "trial", "attempt", "step"):
        assert found[name].astype("Int64").equals(expected[name].astype("Int64"))
    assert same_times(found["time"], expected["time"])


def test_pieces_make_the_same_files(told, tmp_path, monkeypatch):
    result = told.result()
    whole = result.export(tmp_path / "whole", attempts="all")
    tidy = result.export(tmp_path / "tidy", tidy=True)
    monkeypatch.setattr("caviar.analysis.export.csv.CELLS_AT_ONCE", 11)
    pieces = result.export(tmp_path / "pieces", attempts="all")
    tidy_pieces = result.export(tmp_path / "tidy-pieces", tidy=True)
    for name in ("curves.csv", "trials.csv", "events.csv"):
        assert (whole / name).read_bytes() == (pieces / name).read_bytes()
        assert (tidy / name).read_bytes() == (tidy_pieces / name).read_bytes()


def test_tidy_curves_and_all_attempts(told, tmp_path):
    result = told.result()
    tidy, expected = read(result.export(tmp_path / "tidy", tidy=True) / "curves.csv"), result.curves(tidy=True)
    assert list(tidy.columns) == list(expected.columns)
    assert tidy["metric"].tolist() == expected["metric"].tolist()
    np.testing.assert_array_equal(tidy["value"], expected["value"])
    every = read(result.export(tmp_path / "every", attempts="all") / "curves.csv")
    columns = ["trial", "attempt", "step"]
    assert every[columns].to_numpy().tolist() == result.curves(attempts="all")[columns].to_numpy().tolist()
    assert (every["trial"] == 3).sum() == 5


def test_only_some_trials(told, tmp_path):
    result = told.result()
    folder = result.export(tmp_path / "best", top=2)
    assert sorted(result.top(2).index) == [0, 2] == read(folder / "trials.csv")["trial"].tolist()
    assert set(read(folder / "curves.csv")["trial"]) == {0, 2}
    events = read(folder / "events.csv")
    assert set(events["trial"].dropna()) == {0, 2}
    assert events["kind"].tolist()[:2] == ["sweep_started", "driver_started"]
    record = json.loads((folder / "export.json").read_text())
    assert [record[name] for name in ("trials", "of_trials", "reports", "events")] == [2, 7, 9, len(events)]
    assert record["declaration"]["metric"] == "loss"
    some = result.export(tmp_path / "some", trials=np.array([5, 3]))
    assert read(some / "trials.csv")["trial"].tolist() == [3, 5]
    with pytest.raises(UsageError, match="trial 99"):
        result.export(tmp_path / "none", trials=[99])
    with pytest.raises(UsageError, match="one of the two"):
        result.export(tmp_path / "none", trials=[1], top=1)
    with pytest.raises(UsageError, match="attempts='first'"):
        result.export(tmp_path / "none", attempts="first")
    with pytest.raises(UsageError, match="csv, tensorboard"):
        result.export(tmp_path / "none", "excel")
    with pytest.raises(UsageError, match="one curve a trial"):
        result.export(tmp_path / "none", "tensorboard", tidy=True)
    assert not (tmp_path / "none").exists()


def test_a_sweep_of_nothing_yet(story, tmp_path):
    result = story().result("running")
    folder = result.export(tmp_path / "out")
    assert list(read(folder / "curves.csv").columns) == ["trial", "step", "time", "loss"]
    assert len(read(folder / "trials.csv")) == 0
    assert len(read(folder / "events.csv")) == 2
    assert len(read(result.export(tmp_path / "tidy", tidy=True) / "curves.csv")) == 0
    with pytest.raises(CaviarError, match="no trial has begun yet"):
        result.export(tmp_path / "boards", "tensorboard")
    with pytest.raises(CaviarError, match="no trial has reported a finite 'loss' yet"):
        result.export(tmp_path / "boards", top=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "tidy"]


@pytest.mark.parametrize("to", ["csv", "tensorboard"])
def test_trials_that_all_failed_or_reported_nan_alone(story, tmp_path, to):
    tale = story(trials=2)
    tale.sampled(0).started(0).ended(0, "failed", reason="it exited")
    tale.trial(1, [NAN, NAN], "stopped")
    folder = tale.result().export(tmp_path / "out", to)
    if to == "csv":
        assert read(folder / "trials.csv")["best"].isna().all()
        assert np.isnan(read(folder / "curves.csv")["loss"]).tolist() == [True, True]
    else:
        assert np.isnan([each.value for each in scalars(folder / "trial-1")["loss"]]).tolist() == [True, True]
        assert scalars(folder / "trial-0") == {}


def test_far_too_many_metrics_are_told_of_the_way_out(story, tmp_path, monkeypatch):
    monkeypatch.setattr("caviar.analysis.frames.MANY_CELLS", 100)
    tale = story().sampled(0).started(0)
    for step in range(1, 40):
        tale.report(0, step, **{f"m{step}": 1.0})
    with pytest.raises(UsageError, match="--tidy has metrics as rows"):
        tale.result().export(tmp_path / "out")
    assert len(read(tale.result().export(tmp_path / "out", tidy=True) / "curves.csv")) == 39


# --- the folder ---------------------------------------------------------------------------------------------


def test_only_an_export_is_replaced_and_only_on_demand(told, tmp_path):
    result = told.result()
    (tmp_path / "out").mkdir()
    folder = result.export(tmp_path / "out", "tensorboard")
    with pytest.raises(UsageError, match="is there already; replace it with --replace"):
        result.export(folder)
    assert result.export(folder, replace=True, top=1) == folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "curves.csv", "events.csv", "export.json", "trials.csv",
    ]  # fmt: skip
    (folder / "trial-7").mkdir()
    (folder / "trial-7" / "notes.md").write_text("mine")
    with pytest.raises(UsageError, match=r"is not replaced: trial-7/notes.md in it is no export's"):
        result.export(folder, replace=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "curves.csv").write_text("mine")
    for replace in (False, True):
        with pytest.raises(UsageError, match="is there already, and is no export of caviar's"):
            result.export(other, replace=replace)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="is a file; an export is a folder"):
        result.export(tmp_path / "file", replace=True)
    with pytest.raises(UsageError, match="not to a URL"):
        result.export("s3://bucket/out")
    assert (other / "curves.csv").read_text() == (folder / "trial-7" / "notes.md").read_text() == "mine"


def test_a_link_in_an_export_is_not_followed(told, tmp_path):
    folder = told.result().export(tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (folder / "trial-0").symlink_to(tmp_path / "mine")
    with pytest.raises(UsageError, match="is not replaced: trial-0 in it"):
        told.result().export(folder, replace=True)


def test_an_export_that_does_not_end_leaves_what_was_there(told, tmp_path, monkeypatch):
    result = told.result()
    folder = result.export(tmp_path / "out", top=1)
    before = (folder / "trials.csv").read_bytes()

    def full(*arguments: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("caviar.analysis.export.csv._trials", full)
    with pytest.raises(OSError, match="No space left"):
        result.export(folder, replace=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (folder / "trials.csv").read_bytes() == before


def test_an_export_stays_out_of_the_sweep_folder(tmp_path):
    sweep = caviar.Sweep(lambda trial: trial.report(loss=1.0), Space(x=Float(0, 1)), metric="loss", trials=2)
    result = sweep.run(tmp_path / "runs" / "sweep", caviar.Inline())
    for out in ("runs/sweep", "runs/sweep/csv", "runs", "."):
        with pytest.raises(UsageError, match="lies inside the sweep folder"):
            result.export(tmp_path / out)
    assert result.export(tmp_path / "runs" / "csv").is_dir()


# --- TensorBoard --------------------------------------------------------------------------------------------


def scalars(run: Path) -> dict[str, Any]:
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}


def test_runs_have_the_main_lines_with_their_steps_and_times(told, tmp_path):
    result = told.result("running")
    folder = result.export(tmp_path / "out", "tensorboard")
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == [f"trial-{n}" for n in range(6)]
    curves = result.curves()
    for trial in range(6):
        found = scalars(folder / f"trial-{trial}")
        for name in ("loss", "accuracy"):
            rows = result.curves(tidy=True)
            rows = rows[(rows["trial"] == trial) & (rows["metric"] == name)]
            assert [each.step for each in found.get(name, [])] == rows["step"].tolist()
            with np.errstate(over="ignore"):
                expected = rows["value"].to_numpy().astype(np.float32)
            np.testing.assert_array_equal([each.value for each in found.get(name, [])], expected)
            seconds = rows["time"].dt.as_unit("us").astype("int64") / 1e6
            assert [each.wall_time for each in found.get(name, [])] == seconds.tolist()
    for trial, row in result.top(9).iterrows():
        [best] = scalars(folder / f"trial-{trial}")["best/loss"]
        assert (best.step, best.value) == (row["step"], np.float32(row["value"]))
    assert len(curves[curves["trial"] == 3]) == 3  # and not the five of both attempts


def session_groups(folder: Path) -> Any:
    """What the HParams page of TensorBoard asks for."""
    runs = plugin_event_multiplexer.EventMultiplexer()
    runs.AddRunsFromDirectory(str(folder))
    runs.Reload()
    context = backend_context.Context(
        base_plugin.TBContext(data_provider=data_provider.MultiplexerDataProvider(runs, str(folder)))
    )
    here = RequestContext()
    metadata = context.hparams_metadata(here, "")
    experiment = context.experiment_from_metadata(
        here, "", True, metadata, context.hparams_from_data_provider(here, "", limit=None)
    )
    wanted = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=100,
        allowed_statuses=api_pb2.Status.values(),
        col_params=[
            api_pb2.ColParams(metric=info.name, order=api_pb2.ORDER_ASC) for info in experiment.metric_infos[:1]
        ],
    )
    return experiment, list_session_groups.Handler(here, context, "", wanted).run().session_groups


def test_the_hparams_page_has_params_ends_and_the_best_values(told, tmp_path):
    result = told.result("running")
    experiment, groups = session_groups(result.export(tmp_path / "out", "tensorboard"))
    assert [info.name.tag for info in experiment.metric_infos] == ["best/loss", "loss", "accuracy"]
    domains = {info.name: info for info in experiment.hparam_infos}
    assert set(domains) == {"lr", "kind", "depth", "bias"}
    assert domains["lr"].type == api_pb2.DATA_TYPE_FLOAT64
    assert domains["kind"].type == api_pb2.DATA_TYPE_STRING
    assert domains["bias"].type == api_pb2.DATA_TYPE_BOOL
    assert {value.string_value for value in domains["kind"].domain_discrete.values} == {
        str(value) for value in SPACE["kind"].values[:6]
    }
    trials, best = result.trials(), result.top(9)["value"]
    assert {group.name for group in groups} == {f"trial-{n}" for n in range(6)}
    status = {
        "completed": api_pb2.STATUS_SUCCESS, "stopped": api_pb2.STATUS_SUCCESS,
        "failed": api_pb2.STATUS_FAILURE, "running": api_pb2.STATUS_RUNNING,
    }  # fmt: skip
    for group in groups:
        trial = int(group.name.removeprefix("trial-"))
        [session] = group.sessions
        assert session.status == status[trials["status"][trial]]
        assert session.start_time_secs == trials["start_time"][trial].timestamp()
        if session.status != api_pb2.STATUS_RUNNING:
            assert session.end_time_secs == trials["end_time"][trial].timestamp()
        assert group.hparams["lr"].number_value == trials["params.lr"][trial]
        assert group.hparams["kind"].string_value == str(SPACE["kind"].values[trial])
        assert group.hparams["bias"].bool_value == trials["params.bias"][trial]
        assert ("depth" in group.hparams) == (trial == 0)
        values = {each.name.tag: each.value for each in group.metric_values}
        assert ("best/loss" in values) == (trial in best.index)
        if trial in best.index:
            assert values["best/loss"] == np.float32(best[trial])
    ranked = [int(group.name[-1]) for group in groups if group.metric_values]
    assert ranked == [each for each in best.index if each in ranked]


def test_a_long_range_is_a_range_and_a_metric_may_be_called_best(story, tmp_path):
    tale = story(metric="a", space=Space(x=Float(0, 1)), trials=12)
    for trial in range(12):
        tale.sampled(trial, x=trial / 12).started(trial).report(trial, 1, **{"a": 1.0, "best/a": 2.0})
    folder = tale.result("interrupted").export(tmp_path / "out", "tensorboard")
    experiment, groups = session_groups(folder)
    [info] = experiment.hparam_infos
    assert (info.domain_interval.min_value, info.domain_interval.max_value) == (0, 11 / 12)
    assert [info.name.tag for info in experiment.metric_infos] == ["best/a'", "a", "best/a"]
    assert sorted(group.name for group in groups)[:2] == ["trial-00", "trial-01"]
    assert [each.value for each in scalars(folder / "trial-03")["best/a"]] == [2.0]


def test_without_tensorboard(told, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "caviar.analysis.export.boards", raising=False)
    monkeypatch.delitem(sys.modules, "caviar.analysis.export.event_file", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(CaviarError, match=r"needs TensorBoard: pip install 'caviar-sweep\[tensorboard\]'"):
        told.result().export(tmp_path / "out", "tensorboard")
    assert not (tmp_path / "out").exists()
