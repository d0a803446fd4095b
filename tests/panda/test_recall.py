"""Runs that are interrupted judge exactly as if they never had been."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.panda.interrupted import Fault, Run

UNTOUCHED = Run(()).go()

faults = st.lists(
    st.builds(Fault, after=st.integers(0, 70), forgets=st.none() | st.integers(0, 12)), min_size=1, max_size=6
)


def test_the_run_that_others_are_compared_with_has_everything() -> None:
    fired = {firing.rule for firing in UNTOUCHED.firings}
    assert {"OnSpike", "EveryN", "EveryN 2", "capricious"} <= fired
    assert sum(firing.change.rollback_to is not None for firing in UNTOUCHED.firings) > 3
    assert any(firing.change.pause for firing in UNTOUCHED.firings)
    assert [step for step, _ in UNTOUCHED.values] == list(range(1, 46))


@pytest.mark.slow
@settings(max_examples=100, deadline=None, derandomize=True)
@given(faults)
@example([Fault(after=n, forgets=None) for n in (40, 3, 9)])
def test_an_interrupted_run_is_the_run(given_faults: list[Fault]) -> None:
    told = Run(given_faults).go()
    assert told == UNTOUCHED
