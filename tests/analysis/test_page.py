"""The HTML page: whole, self-contained, and safe from what names and params hold."""

from __future__ import annotations

import builtins
import json
import re
from importlib import resources

import numpy as np
import pytest

from caviar.analysis import page
from caviar.errors import CaviarError
from caviar.space import Choice, Float, Int, Space
from caviar.trial import TrialState


def script_data(text):
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text)[1])


def test_the_page_draws_every_trial_on_the_scales_of_the_space(story, tmp_path):
    told = story(mode="max").trial(
        0, [0.5, 0.9], lr=0.1, momentum=0.99, optimizer="adam", beta2=0.999, layers=2, epsilon=1.0
    )
    told.trial(1, [0.4, float("nan")], "stopped", lr=0.01, momentum=0.9, optimizer="sgd", layers=1, epsilon=1.0)
    path = told.result().report(tmp_path / "new" / "page.html")
    assert path == tmp_path / "new" / "page.html"
    data = script_data(path.read_text("utf-8"))
    assert [(axis["name"], axis["scale"]) for axis in data["axes"]] == [
        ("lr", "log"), ("momentum", "one_minus_log"), ("optimizer", "choice"), ("beta2", "one_minus_log"),
        ("layers", "linear"),
    ]  # fmt: skip
    assert data["best"] == 0
    assert data["trials"][1] == {
        "trial": 1, "status": "stopped", "best": 0.4, "params": [0.01, 0.9, "sgd", None, 1, "1.0"],
        "x": [1, 2], "y": [0.4, None],
    }  # fmt: skip


def test_every_state_of_a_trial_has_a_colour_and_is_drawn():
    text = resources.files("caviar.analysis").joinpath("page.html").read_text("utf-8")
    drawn = json.loads(re.search(r"const STATES = (\[.*?\]);", text)[1])
    assert sorted(drawn) == sorted(state.value for state in TrialState)
    for state in drawn:
        assert text.count(f"--{state}: #") == 2  # by day and by night
        assert f".{state} {{ background: var(--{state}) }}" in text


def test_the_page_loads_nothing(story, tmp_path):
    text = story().trial(0, [1.0]).result().report(tmp_path / "page.html").read_text("utf-8")
    own = re.sub(r"<script>.*?</script>", "", text, flags=re.S)  # plotly's own code names addresses; ours has none
    assert not re.search(r"https?://|\bsrc=|\bhref=|@import|url\(", own)
    assert "Plotly.newPlot" in text


def test_names_and_params_cannot_break_out(story, tmp_path):
    evil = "</script><script>alert(1)</script>"
    told = story(metric=evil, space=Space(lr=Float(0, 1), kind=Choice([evil, "b"])))
    told.trial(0, [1.0], lr=0.5, kind=evil)
    text = told.result().report(tmp_path / "page.html").read_text("utf-8")
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert "</script><script>a" not in text
    assert script_data(text)["metric"] == evil


def test_a_sweep_without_reports_has_a_page_too(story, tmp_path):
    text = story().sampled(0).result("running").report(tmp_path / "page.html").read_text("utf-8")
    assert "nothing finite reported yet" in text
    assert script_data(text)["trials"][0]["x"] == []


def test_large_sweeps_are_thinned_out_but_keep_their_best(story, monkeypatch):
    monkeypatch.setattr(page, "MAX_TRIALS", 30)
    monkeypatch.setattr(page, "BEST_DRAWN", 10)
    monkeypatch.setattr(page, "MAX_POINTS", 450)
    rng = np.random.default_rng(4)
    told = story(max_step=60)
    for trial in range(100):
        told.trial(trial, rng.random(60).tolist(), lr=0.1)
    result = told.result()
    data = page.page_data(result)
    drawn = [trial["trial"] for trial in data["trials"]]
    assert data["of"] == 100
    assert len(drawn) <= 30
    assert drawn == sorted(set(drawn))
    assert set(result.top(10).index) <= set(drawn)
    for trial in data["trials"]:
        assert len(trial["x"]) <= 450 / len(drawn)
        assert (trial["x"][0], trial["x"][-1]) == (1, 60)


def test_few_whole_numbers_are_told_apart(story):
    told = story(space=Space(layers=Int(1, 4), units=Int(1, 400), width=Int(1, 4, scale="log"))).trial(
        0, [1.0], layers=1
    )
    few = {axis["name"]: axis["few"] for axis in page.page_data(told.result())["axes"]}
    assert few == {"layers": True, "units": False, "width": False}


def test_without_plotly_it_says_what_to_install(story, tmp_path, monkeypatch):
    real = builtins.__import__

    def without_plotly(name, *args, **kwargs):
        if name.startswith("plotly"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_plotly)
    with pytest.raises(CaviarError, match=r"pip install 'caviar-sweep\[report\]'"):
        story().trial(0, [1.0]).result().report(tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
