"""The audit of early stopping, drawn."""

from __future__ import annotations

import numpy as np
import pytest

from caviar.messages import Decided


def judged(story, trials=12):
    """At rung 1 a third is stopped, and one more spared; the rest comes to its end."""
    told = story(max_step=3)
    for trial in range(trials):
        told.sampled(trial).started(trial).report(trial, 1, loss=float(trial))
        said = "stop" if trial >= trials - 4 else "spare" if trial == trials - 5 else "continue"
        told.tell(Decided(told.tick(), trial, 1, 1, 1, float(trial), said))
        if said != "stop":
            told.report(trial, 3, loss=trial / 2)
        told.ended(trial, "stopped" if said == "stop" else "completed")
    return told.result()


def test_each_rung_is_a_bar_of_what_was_decided_there(story):
    result = judged(story)
    figure = result.plot.audit()
    bars = {trace.name: (trace.x, np.asarray(trace.y).tolist()) for trace in figure.data if trace.type == "bar"}
    assert bars == {"went on": (("1",), [7]), "stopped": (("1",), [4]), "spared": (("1",), [1])}
    assert figure.layout.meta["caption"].startswith("Stopped 4 of 12 trials at a rung")


def test_the_correlation_is_that_of_the_audit(story):
    result = judged(story)
    line = result.plot.audit().data[-1]
    assert np.asarray(line.y) == pytest.approx(result.audit().rungs["correlation"].to_numpy(), nan_ok=True)
    assert line.text == ("8 trials, 1 of them spared",)
    assert line.marker.symbol == ("circle-open",)  # of few trials


def test_without_rungs_it_says_so(story):
    figure = story().trial(0, [1.0]).result().plot.audit()
    assert figure.layout.annotations[0].text == "Nothing was judged at a rung, so nothing was stopped early."
