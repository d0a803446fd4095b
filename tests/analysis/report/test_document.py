"""The report: whole, self-contained, and safe from what names, params and errors hold."""

from __future__ import annotations

import builtins
import json
import re

import numpy as np
import pytest

from caviar.errors import CaviarError
from caviar.space import Choice, Float, Space
from tests.analysis.report.sweeps import DEGENERATE, all_failed, all_nan, live, one_report, told, whole


def written(result, tmp_path):
    return result.report(tmp_path / "page.html").read_text("utf-8")


def figures(text):
    found = re.findall(r'<script type="application/json" id="data-(\w+)">(.*?)</script>', text, re.S)
    return {name: json.loads(data) for name, data in found}


def own(text):
    """Without plotly's own code, which names addresses, and the data of figures."""
    return re.sub(r"<script.*?</script>", "", text, flags=re.S)


def section(text, name):
    return re.search(rf'<section id="{name}"[^>]*>(.*?)</section>', own(text), re.S)[1]


def said(text, name):
    return " ".join(re.sub(r"<[^>]+>", " ", section(text, name)).split())


def test_it_opens_with_what_a_person_needs(tmp_path):
    result = whole()
    path = result.report(tmp_path / "new" / "page.html")
    assert path == tmp_path / "new" / "page.html"
    text = path.read_text("utf-8")
    order = re.findall(r'<section id="(\w+)"', text)
    assert order[:4] == ["best", "mattered", "next", "figures"]
    assert order[-3:] == ["missing", "declared", "happened"] or order[-2:] == ["declared", "happened"]
    best = result.best
    assert f"trial {best.trial}, step {best.step} of 20" in said(text, "best")
    copied = re.search(r"<pre><code>(.*?)</code>", section(text, "best"), re.S)[1].replace("&#x27;", "'")
    assert eval(copied) == best.params
    rows = re.findall(r"<tr><td[^>]*>(\d+)</td>", section(text, "best"))
    assert [int(row) for row in rows] == result.top(10).index.tolist()


def test_it_has_every_figure(tmp_path):
    drawn = set(figures(written(whole(), tmp_path)))
    assert drawn >= {"curves", "params", "parallel", "contour", "best", "rungs", "stages", "workers"}
    assert "stages" not in figures(written(whole(stages=False), tmp_path))


def test_figures_have_their_words_in_the_text(tmp_path):
    text = written(whole(), tmp_path)
    assert all("title" not in figure["layout"] for figure in figures(text).values())
    assert "Each line is a trial" in said(text, "curves")
    assert "Drawn: 60 trials." in said(text, "curves")


@pytest.mark.parametrize("make", DEGENERATE, ids=lambda make: make.__name__)
def test_every_sweep_has_a_page(make, tmp_path):
    text = written(make(), tmp_path)
    assert own(text).count("<section") == own(text).count("</section>") >= 4
    for name, figure in figures(text).items():
        assert figure["data"], name
        assert f'data-of="{name}"' in text
    assert "nan" not in re.sub(r"<[^>]+>", " ", own(text).split("<body>")[1]).split()
    assert said(text, "next")


def test_without_figures_plotly_stays_out(tmp_path):
    assert len(written(told().result("running"), tmp_path)) < 50_000


def test_the_page_loads_nothing(tmp_path):
    text = own(written(whole(), tmp_path))
    assert not re.search(r"https?://|\bsrc=|@import|url\(", text)
    assert set(re.findall(r'href="(.)', text)) == {"#"}


def test_links_of_the_page_lead_somewhere(tmp_path):
    text = own(written(whole(), tmp_path))
    assert set(re.findall(r'href="#(\w+)"', text)) <= set(re.findall(r'id="(\w+)"', text))


def test_names_params_and_errors_cannot_break_out(tmp_path):
    evil = "</script><script>alert(1)</script>"
    story = told(metric=evil, space=Space(lr=Float(0, 1), kind=Choice([evil, "b"])))
    story.trial(0, [1.0, 0.5], lr=0.5, kind=evil).trial(1, [2.0, 0.7], lr=0.7, kind="b")
    story.sampled(2, lr=0.1, kind=evil).started(2).ended(2, "failed", reason=f"ValueError: {evil}")
    text = story.result().report(tmp_path / "page.html", title=evil).read_text("utf-8")
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert "</script><script>a" not in text


def test_halves_of_characters_do_not_stop_it(tmp_path):
    text = one_report().report(tmp_path / "page.html", title="a \ud800 b").read_text("utf-8")
    assert "<h1>a ? b</h1>" in text


def test_failures_are_grouped_by_what_they_have_in_common(tmp_path):
    text = written(all_failed(), tmp_path)
    assert section(text, "failures").count("<details>") == 1
    assert "3 trials: 0, 1, 2" in said(text, "failures")
    assert "Traceback (most recent call last)" in said(text, "failures")
    assert "ValueError: no file" in said(text, "next")


def test_a_running_sweep_says_so_with_the_time(tmp_path):
    text = written(told().trial(0, [1.0], "running").result("running"), tmp_path)
    assert re.search(r'<span class="badge">Still running: this is how it was then · \d+ \w+ \d{4}, ', text)


def test_a_live_run_has_its_adjustments_on_the_curve(tmp_path):
    text = written(live(), tmp_path)
    assert "What mattered" not in text
    curve = figures(text)["curves"]
    assert [shape["x0"] for shape in curve["layout"]["shapes"]] == [5, 3, 5]
    assert [note["text"] for note in curve["layout"]["annotations"]] == ["a", "b", "c"]
    assert [trace["name"] for trace in curve["data"]] == ["left by a roll-back", "main line", "best"]
    assert "'lr': 0.05" in section(text, "best").replace("&#x27;", "'")
    done = said(text, "done")
    assert "a 5 lr 0.1 -&gt; 0.5 by hand: more &amp; &lt;faster&gt; no: undone" in done
    assert "c 5 lr 0.1 -&gt; 0.05 by hand yes" in done
    assert "0.05" not in said(text, "happened")  # it is told above


def test_what_is_missing_is_named_with_the_reason(tmp_path):
    text = written(all_nan(), tmp_path)
    assert set(figures(text)) == {"workers"}
    assert "No trial has reported a finite loss yet." in said(text, "missing")
    assert "never as a finite number" in said(text, "next")


def test_large_sweeps_say_how_much_is_drawn(tmp_path):
    rng = np.random.default_rng(4)
    story = told(max_step=5, trials=2_100)
    for trial in range(2_100):
        story.trial(trial, rng.random(5).tolist(), lr=float(rng.uniform(0.001, 1)), momentum=0.95, layers=1)
    text = written(story.result(), tmp_path)
    assert "Drawn: 2,000 of 2,100 trials, the best among them." in said(text, "curves")
    assert len(text) < 8e6


def test_the_same_result_gives_the_same_page(tmp_path):
    assert written(whole(), tmp_path) == written(whole(), tmp_path)


def test_without_plotly_it_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def without_plotly(name, *args, **kwargs):
        if name.startswith("plotly"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_plotly)
    with pytest.raises(CaviarError, match=r"pip install 'caviar-sweep\[report\]'"):
        one_report().report(tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
