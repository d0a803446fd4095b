"""What the recipes of docs/analysis.md find is what `caviar.load` says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import caviar
from tests.pages import ROOT, run


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield {**run(ROOT / "docs" / "analysis.md", folder, monkeypatch), "folder": folder}


@pytest.fixture(scope="module")
def result(page: dict[str, Any]) -> caviar.Result:
    return caviar.load(page["folder"] / "runs" / "analysis")


def loss_of(result: caviar.Result) -> pd.DataFrame:
    return result.curves().dropna(subset=["loss"]).reset_index(drop=True)


def test_the_sweep_has_what_the_recipes_are_about(page: dict[str, Any], result: caviar.Result) -> None:
    trials = result.trials()
    assert trials["attempts"].tolist() == [1, 2] + [1] * 28
    assert trials["stage"].tolist() == [0] * 20 + [1] * 10
    assert page["faults"].to_numpy().tolist() == [[1, 0, "ConnectionError: the file server was away"]]
    assert page["other"].path.name == "analysis-2"


def test_main_line_and_wide(page: dict[str, Any], result: caviar.Result) -> None:
    found = page["db"].sql("select trial, attempt, seq from main_line order by trial, step, attempt, seq").df()
    every, line = len(result.curves(tidy=True, attempts="all")), len(result.curves(tidy=True))
    assert len(found) == line == every - 6 - 2  # six losses and two accuracies of the attempt that failed
    assert set(found["attempt"][found["trial"] == 1]) == {1}
    wide = page["wide"].set_index(["trial", "step"])
    expected = result.curves().groupby(["trial", "step"]).last()
    assert wide.index.equals(expected.index)
    for name in ("loss", "accuracy"):
        np.testing.assert_array_equal(wide[name], expected[name])


def test_a_column_a_trial(page: dict[str, Any], result: caviar.Result) -> None:
    loss = loss_of(result)
    for name in ("by_trial", "by_hand"):
        found = page[name].melt(ignore_index=False).dropna().reset_index().sort_values(["trial", "step"])
        assert found["value"].tolist() == loss["loss"].tolist()


def test_best(page: dict[str, Any], result: caviar.Result) -> None:
    top = result.top(30)
    found = page["best"].set_index("trial")
    assert found.index.tolist() == top.index.tolist()
    assert found["value"].tolist() == top["value"].tolist()
    assert found["step"].tolist() == top["step"].tolist()
    assert found["lr"].tolist() == top["params.lr"].tolist()
    assert found["optimizer"].tolist() == top["params.optimizer"].tolist()
    assert found["stage"].tolist() == result.trials().loc[top.index, "stage"].tolist()


def test_quantiles(page: dict[str, Any], result: caviar.Result) -> None:
    loss = loss_of(result)
    counts = loss.groupby("step")["loss"].count()
    assert page["quantiles"]["trials"].tolist() == counts.tolist()
    by_step = np.stack(page["quantiles"]["loss"])
    np.testing.assert_allclose(by_step, page["same"].to_numpy(), rtol=1e-12)
    np.testing.assert_allclose(by_step[0, 1], loss[loss["step"] == 1]["loss"].median(), rtol=1e-12)
    survivors = loss[loss.groupby("trial")["step"].transform("max") >= 6]
    for step in range(1, 7):
        here = survivors[survivors["step"] == step]["loss"]
        assert 0 < len(here) < 30
        assert page["fair"][step] == here.median()


def test_smoothing(page: dict[str, Any], result: caviar.Result) -> None:
    loss = loss_of(result)
    found = page["smooth"]
    assert found[["trial", "step"]].to_numpy().tolist() == loss[["trial", "step"]].to_numpy().tolist()
    np.testing.assert_allclose(found["loss"], page["loss"]["mean_of_3"], rtol=1e-9)
    first = loss[loss["trial"] == 0]["loss"].to_numpy()
    np.testing.assert_allclose(found["loss"][found["trial"] == 0].iloc[4], first[2:5].mean(), rtol=1e-12)
    weights = 0.7 ** np.arange(2, -1, -1)
    expected = (weights * first[:3]).sum() / weights.sum()
    np.testing.assert_allclose(page["loss"]["ewm"].iloc[2], expected, rtol=1e-12)
    assert page["steady"].iloc[0] == min(page["loss"]["mean_of_3"])


def test_stages(page: dict[str, Any], result: caviar.Result) -> None:
    top, trials = result.top(30), result.trials()
    for stage, row in page["stages"].set_index("stage").iterrows():
        of = trials.index[trials["stage"] == stage]
        assert row["trials"] == len(of)
        assert row["best"] == top["value"][top.index.isin(of)].min() == page["in_pandas"]["min"][stage]
        assert row["least_lr"] == trials["params.lr"][of].min()
        assert row["greatest_lr"] == trials["params.lr"][of].max()


def test_decisions(page: dict[str, Any], result: caviar.Result) -> None:
    events = result.events()
    decisions = events[events["kind"] == "decision"]
    said = decisions.assign(stop=[data["decision"] == "stop" for data in decisions["data"]]).groupby("step")[
        "stop"
    ]
    assert page["judged"].to_numpy().tolist() == [[rung, len(stops), int(stops.sum())] for rung, stops in said]


def test_two_sweeps(page: dict[str, Any], result: caviar.Result) -> None:
    loss = loss_of(result)
    assert len(page["first"]) == len(loss)
    assert page["first"]["best"].iloc[-1] == result.best.value
    assert page["second"]["best"].iloc[-1] == page["other"].best.value
    in_time = loss.sort_values(["time", "trial", "step"])["loss"].cummin()
    assert page["first"]["best"].tolist() == in_time.tolist()
    assert page["together"]["best_2"].notna().sum() == len(loss_of(page["other"]))
    assert page["both"].loc["analysis", "metrics.loss"].tolist() == result.trials()["metrics.loss"].tolist()


def test_rows_of_a_running_sweep(page: dict[str, Any], tmp_path: Path) -> None:
    looks: list[tuple[int, int, int, int, int]] = []
    folder = tmp_path / "sweep"

    def rows() -> tuple[int, int]:
        return tuple(page["committed"](str(folder), table).num_rows for table in ("metrics", "events"))  # type: ignore[return-value]

    def train(trial: caviar.Trial) -> None:
        trial.report(loss=float(trial.id), accuracy=1.0)
        if not looks and caviar.load(folder).counts().get("completed"):
            before, seen, after = rows(), caviar.load(folder), rows()
            assert before[0] <= len(seen.curves(tidy=True)) <= after[0]
            assert before[1] <= len(seen.events()) <= after[1]
            looks.append((*before, len(pd.read_parquet(folder / "metrics")), *after))

    sweep = caviar.Sweep(train, caviar.Space(x=caviar.Float(0, 1)), metric="loss", trials=1000)
    result = sweep.run(folder, caviar.Inline())
    [(metrics, events, in_parts, *_)] = looks
    assert metrics > in_parts == 0
    assert events > 0
    assert rows() == (2000, len(result.events()))
    table = page["committed"](str(folder), "metrics")
    assert table.column("metric").to_pylist()[:2] == ["loss", "accuracy"]
