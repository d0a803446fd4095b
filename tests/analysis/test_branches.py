from __future__ import annotations

from caviar.analysis.branches import branches, rolled_back, tree
from caviar.analysis.reports import ReportColumns
from caviar.analysis.trials import EventColumns
from caviar.messages import Adjusted, AttemptFailed, DriverStarted, RolledBack, TrialReopened


def columns(told):
    return EventColumns(told.events_table()), ReportColumns.of(told.metrics_table(), told.metric)


def drawn(told, trial=0, **options):
    return tree(trial, branches(*columns(told), trial), **options)


def back(told, attempt, *, step, from_step, command="c", note=None, **more):
    return told.tell(RolledBack(told.tick(), 0, attempt, step, from_step, command=command, note=note, **more))


def adjust(told, attempt, *, step, old=0.1, new=0.02):
    return told.tell(Adjusted(told.tick(), 0, attempt, step, {"lr": old}, {"lr": new}, "c"))


def test_a_trial_that_was_rolled_back_once(story):
    told = story(trials=1).sampled(0).started(0, 0).curve(0, [1.0] * 57, attempt=0)
    back(told, 1, step=40, from_step=57, note="loss 3.1 is twice its best")
    adjust(told, 1, step=41).started(0, 1, restored=40).curve(0, [1.0] * 80, attempt=1, first=41)
    assert drawn(told) == [
        "trial 0",
        "├─ attempt 0  steps 1-57                                  rolled back at 57: loss 3.1 is twice its best",
        "└─ attempt 1  from step 40, lr 0.1 -> 0.02, steps 41-120  main line",
    ]
    first, second = branches(*columns(told), 0)
    assert (first.main, second.main) == ((1, 40), (41, 120))
    assert (first.origin, second.origin) == (None, 0)


def test_the_same_in_ascii(story):
    told = story(trials=1).sampled(0).started(0, 0).curve(0, [1.0] * 3, attempt=0)
    back(told, 1, step=0, from_step=3)
    assert drawn(told, unicode=False) == [
        "trial 0",
        "|- attempt 0  steps 1-3  rolled back at 3 by hand",
        "`- attempt 1  no step    main line",
    ]


def test_a_branch_from_an_earlier_attempt_and_ends_of_every_kind(story):
    told = story(trials=1).sampled(0).started(0, 0).curve(0, [1.0] * 9, attempt=0)
    told.tell(AttemptFailed(told.tick(), 0, 0, 9, "ValueError: no"))
    told.started(0, 1, restored=8).curve(0, [1.0], attempt=1, first=9)
    adjust(told, 1, step=10).curve(0, [1.0] * 3, attempt=1, first=10)
    back(told, 2, step=4, from_step=12, by="OnSpike").started(0, 2, restored=4).curve(0, [1], attempt=2, first=5)
    told.tell(DriverStarted(told.tick(), "host", 8, "0.1"))
    told.started(0, 3, restored=4).curve(0, [1] * 4, attempt=3, first=5).ended(0, "stopped", 3, reason="by hand")
    told.tell(TrialReopened(told.tick(), 0, 4, 8, 0, {"lr": 1.0}, 1, 3)).started(0, 4, restored=8)
    assert drawn(told) == [
        "trial 0",
        "├─ attempt 0  steps 1-9                                      failed at 9: ValueError: no",
        "├─ attempt 1  from step 8, steps 9-12, lr 0.1 -> 0.02 at 10  rolled back at 12 by OnSpike",
        "├─ attempt 2  from step 4 of attempt 0, step 5               cut off",
        "├─ attempt 3  from step 4 of attempt 0, steps 5-8            stopped at 12: by hand",
        "└─ attempt 4  from step 8, no step                           main line",
    ]
    assert [each.main for each in branches(*columns(told), 0)] == [(1, 4), None, None, (5, 8), None]


def test_many_adjustments_are_counted(story):
    told = story(trials=1).sampled(0).started(0, 0).curve(0, [1.0] * 9, attempt=0)
    for step in range(2, 8):
        adjust(told, 0, step=step)
    assert drawn(told)[1] == "└─ attempt 0  steps 1-9, 6 adjustments  main line"


def test_other_trials_do_not_matter(story):
    told = story(trials=2).sampled(0).started(0, 0).sampled(1).started(1, 0)
    told.curve(0, [1.0] * 5, attempt=0).curve(1, [1.0] * 7, attempt=0)
    back(told, 1, step=2, from_step=5)
    assert rolled_back(columns(told)[0]) == [0]
    assert drawn(told, 1) == ["trial 1", "└─ attempt 0  steps 1-7  main line"]


def test_a_trial_that_has_not_begun(story):
    told = story(trials=1).sampled(0)
    assert branches(*columns(told), 0) == []
    assert rolled_back(columns(told)[0]) == []
