"""Coarse to fine: a sweep that opens its stages by itself."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import caviar
from caviar import launch, runner
from caviar.analysis.notes import describe
from caviar.analysis.trials import MISSING
from caviar.controller import Controller, Resumption
from caviar.errors import UsageError
from caviar.extension import requested
from caviar.history import replay
from caviar.messages import (
    AttemptEnded,
    CommandReceived,
    DriverStarted,
    Event,
    Extension,
    Launch,
    Narrow,
    Narrowed,
    Paused,
    Recorded,
    RoomOffered,
    StageOpened,
    TrialStarted,
)
from caviar.samplers import RandomSampler, SobolSampler
from caviar.schedulers import RunAll
from caviar.space import Float, Space
from caviar.state import Plan, proposer
from caviar.store.rows import to_row
from caviar.store.tables import events_table

SPACE = Space(lr=Float(1e-4, 1.0, scale="log"))
NARROW = Space(lr=Float(1e-2, 1e-1, scale="log"))
WHY = [{"name": "lr", "why": "the best lie there"}]


class Driven:
    """A controller, all that it recorded, and what it last said."""

    def __init__(self, **changes: Any) -> None:
        arguments: dict[str, Any] = {
            "space": SPACE,
            "sampler": RandomSampler(),
            "scheduler": RunAll(),
            "trials": 6,
            "max_step": 8,
            "stages": 2,
            **changes,
        }
        self.plan = Plan(**arguments)
        self.controller = Controller(self.plan)
        self.recorded: list[Recorded] = []
        self.said: list[Any] = []
        self._take(self.controller.begin(DriverStarted(0, "here", 1, "0")))

    def _take(self, output: list[Any]) -> list[Any]:
        self.said = output
        self.recorded += [item for item in output if isinstance(item, Recorded)]
        return output

    def handle(self, event: Event) -> list[Any]:
        return self._take(self.controller.handle(event, 0))

    def room(self, trials: int = 9) -> list[int]:
        """Which trials it launches where there is room for so many."""
        launched = [item.trial for item in self.handle(RoomOffered(trials)) if isinstance(item, Launch)]
        narrows = [item for item in self.said if isinstance(item, Narrow)]
        for trial in launched:
            self.handle(TrialStarted(0, trial, 0, "worker-0"))
        self.said = narrows
        return launched

    def end(self, *trials: int) -> None:
        for trial in trials:
            self.handle(AttemptEnded(5, trial, 0, 8, "returned", value=1.0, best=1.0, best_step=8))

    def narrowed(self, stage: int = 1, space: Space = NARROW) -> list[Any]:
        return self.handle(Narrowed(stage, space.to_dict(), WHY))

    def check_replay(self) -> None:
        """The record leads to the same state."""
        table = events_table([to_row(event) for event in self.recorded], first_seq=0)
        pictures = [dict(state.picture()) for state in (replay(self.plan, table).state, self.controller.state)]
        for picture in pictures:
            del picture["judge"]  # which knows nothing, and has no equality
        assert pictures[0] == pictures[1]


def test_a_stage_opens_when_half_of_the_one_before_has_ended() -> None:
    driven = Driven()
    assert driven.room() == [0, 1, 2]
    assert driven.said == []
    driven.end(1)
    assert driven.room() == []
    assert driven.said == []
    driven.end(0)
    assert driven.room() == []
    assert driven.said == [Narrow(1)]
    assert driven.narrowed() == [StageOpened(0, 1, NARROW.to_dict(), WHY)]
    assert driven.room() == [3, 4, 5]
    records = driven.controller.state.active
    assert [records[trial].stage for trial in (2, 3, 4, 5)] == [0, 1, 1, 1]
    assert all(1e-2 <= records[trial].params["lr"] <= 1e-1 for trial in (3, 4, 5))
    driven.check_replay()
    driven.end(2, 3, 4, 5)
    assert driven.recorded[-1].kind == "sweep_ended"
    driven.check_replay()


def test_an_answer_that_comes_twice_or_too_late_opens_nothing() -> None:
    driven = Driven()
    driven.room()
    assert driven.narrowed() == [StageOpened(0, 1, NARROW.to_dict(), WHY)]
    assert driven.narrowed() == []
    assert driven.narrowed(2) == []
    assert driven.controller.state.stage == 1


def test_a_trial_that_a_person_paused_holds_nothing_up() -> None:
    driven = Driven(trials=4)
    assert driven.room() == [0, 1]
    driven.handle(Paused(0, 0, 0, 1))
    assert driven.room() == []
    assert driven.said == [Narrow(1)]


def test_known_settings_belong_to_the_first_stage() -> None:
    driven = Driven(trials=4, first=[{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3}])
    assert driven.room() == [0, 1, 2]
    driven.end(0, 1, 2)
    driven.room()
    driven.narrowed()
    assert driven.room() == [3]
    assert driven.controller.state.active[3].stage == 1


def test_a_sweep_that_is_stopped_opens_no_stage() -> None:
    driven = Driven()
    driven.room()
    driven.handle(CommandReceived(0, "a", "stop", None, {}))
    for trial in range(3):
        driven.handle(AttemptEnded(5, trial, 0, 2, "stopped", "by hand"))
    assert driven.recorded[-2].kind == "sweep_ended"
    assert not any(event.kind == "stage_opened" for event in driven.recorded[3:])


def test_further_trials_of_a_sweep_that_is_through_are_of_its_last_stage() -> None:
    driven = Driven()
    driven.room()
    driven.end(0, 1, 2)
    driven.room()
    driven.narrowed()
    driven.room()
    driven.end(3, 4, 5)
    resumption = Resumption(
        driven_s=1.0, standings={}, changes={}, extension=Extension(more_trials=6), new_stage=False
    )
    driven._take(driven.controller.resume(DriverStarted(9, "here", 2, "0", 1.0), resumption))
    assert driven.room() == [6, 7, 8, 9, 10, 11]
    assert {driven.controller.state.active[trial].stage for trial in range(6, 12)} == {1}
    driven.check_replay()


def test_a_zoom_is_no_other_declaration() -> None:
    """What a person sets by hand keeps to the space as it was declared."""
    driven = Driven()
    driven.room()
    driven.end(0, 1)
    driven.room()
    driven.narrowed()
    state = driven.controller.state
    assert (state.plan.space, state.declared) == (NARROW, SPACE)
    driven.room()
    driven.handle(CommandReceived(0, "b", "set", 3, {"changes": {"lr": 0.9}}))
    assert not any(event.kind == "command_answered" for event in driven.recorded)


def test_a_stage_by_hand_takes_the_place_of_the_next_one() -> None:
    driven = Driven(trials=8)
    driven.room()
    extension = Extension(more_trials=2, space=NARROW.to_dict(), zoom=[])
    driven._take(driven.controller._extend(extension, 0))
    assert driven.controller.state.stage == 1
    assert not driven.controller.state.stage_due
    driven.check_replay()


def test_sobol_points_differ_from_stage_to_stage() -> None:
    plan = Plan(space=SPACE, sampler=SobolSampler(), scheduler=RunAll(), trials=8, seed=3)
    by_stage = [proposer(plan, 0, stage=stage).suggest(0, None) for stage in (0, 1, 2, 1)]  # type: ignore[arg-type]
    assert by_stage[1] == by_stage[3]
    assert len({params["lr"] for params in by_stage}) == 3


@pytest.mark.parametrize(
    "zoom",
    [
        {"zoom": []},
        {"space": SPACE.to_dict(), "zoom": "x"},
        {"space": SPACE.to_dict(), "zoom": [1]},
        {"space": SPACE.to_dict(), "zoom": [], "trials": 0},
    ],
)
def test_a_zoom_that_makes_no_sense_is_refused(zoom: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="zoom"):
        requested({"trials": 1, **zoom}, reopened=())


# --- whole sweeps ----------------------------------------------------------------------------------------------


def valley(trial: caviar.Trial) -> None:
    """The best learning rate is 0.01; nothing else matters."""
    for step in trial.steps():
        trial.report(loss=(math.log10(trial.params["lr"]) + 2) ** 2 + 1 / step)


def staged(**changes: Any) -> caviar.Sweep:
    space = Space(lr=Float(1e-5, 1e1, scale="log"), other=Float(0, 1))
    arguments: dict[str, Any] = {"metric": "loss", "trials": 120, "max_step": 4, "stages": 3, **changes}
    return caviar.Sweep(valley, space, **arguments)


def test_a_staged_sweep_moves_in_on_the_optimum(tmp_path: Path) -> None:
    result = staged(scheduler=caviar.Asha(grace_steps=1, reduction_factor=2)).run(tmp_path / "a", caviar.Inline())
    trials = result.trials()
    assert trials.groupby("stage").size().to_dict() == {0: 40, 1: 40, 2: 40}
    spread = [trials[trials.stage == stage]["params.lr"].map(math.log10).std() for stage in range(3)]
    assert spread[2] < spread[0] / 2
    last = result.stage_spaces[2]["lr"]
    assert last.low < 0.01 < last.high
    assert result.last_space == result.stage_spaces[2]
    assert result.space == result.stage_spaces[0]  # as it was declared
    opened = result.events().query("kind == 'stage_opened'")
    notes = [describe("stage_opened", MISSING, data) for data in opened.data]
    assert notes[0] == "stage 0 opened: another space was declared"
    assert notes[2].startswith("stage 2 opened: lr ")
    assert [data.get("zoom") is None for data in opened.data] == [True, False, False]


def test_inline_a_staged_sweep_is_the_same_every_time(tmp_path: Path) -> None:
    one, other = (staged(trials=60).run(tmp_path / name, caviar.Inline()).trials() for name in "ab")
    assert one.filter(like="params").equals(other.filter(like="params"))


def test_one_that_is_cut_off_between_two_stages_goes_on_to_the_next(tmp_path: Path) -> None:
    seen: list[str] = []

    def cut_off(item: Any) -> None:
        seen.append(getattr(item, "kind", "reports"))
        if seen.count("trial_ended") == 20 and seen[-1] == "trial_ended":
            raise KeyboardInterrupt

    sweep = staged(trials=60)
    with pytest.raises(KeyboardInterrupt):
        sweep.run(tmp_path / "a", caviar.Inline(), on_event=cut_off)
    result = sweep.run(tmp_path / "a", caviar.Inline(), resume=True)
    whole = sweep.run(tmp_path / "b", caviar.Inline())
    assert result.trials().filter(like="params").equals(whole.trials().filter(like="params"))
    assert result.events().kind.tolist().count("stage_opened") == 3


def test_where_nothing_can_be_told_a_stage_is_sampled_as_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def nothing(trial: caviar.Trial) -> None:
        trial.report(loss=math.nan)

    sweep = caviar.Sweep(nothing, SPACE, metric="loss", trials=6, max_step=1, stages=2)
    result = sweep.run(tmp_path / "a", caviar.Inline())
    assert result.stage_spaces[0] == result.stage_spaces[1] == SPACE
    assert "stage 1 is sampled as the one before it: " in caplog.text
    opened = result.events().query("kind == 'stage_opened'").data.iloc[1]
    assert describe("stage_opened", MISSING, opened).endswith("in the same space")


def test_a_sweep_is_gone_on_with_in_the_space_that_zoom_found(tmp_path: Path) -> None:
    sweep = staged(trials=60, stages=1)
    space = sweep.run(tmp_path / "a", caviar.Inline()).zoom()
    result = sweep.extend(tmp_path / "a", caviar.Inline(), trials=10, space=space)
    found = result.trials().query("stage == 1")["params.lr"]
    assert len(found) == 10
    assert found.between(space["lr"].low, space["lr"].high).all()
    assert result.declaration["space"] == sweep.space.to_dict()
    sweep.run(tmp_path / "a", caviar.Inline(), resume=True)  # is not another sweep than the one on record


def test_a_zoom_is_extended_into_with_trials(tmp_path: Path) -> None:
    sweep = staged(trials=30, stages=1)
    space = sweep.run(tmp_path / "a", caviar.Inline()).zoom()
    with pytest.raises(UsageError, match="with trials to sample from it"):
        sweep.extend(tmp_path / "a", caviar.Inline(), max_step=9, space=space)
    with pytest.raises(UsageError, match=r"what Result\.zoom returns"):
        sweep.extend(tmp_path / "a", caviar.Inline(), trials=9, space=SPACE)  # type: ignore[arg-type]


def test_what_cannot_have_stages(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="GridSampler"):
        staged(sampler=caviar.GridSampler(4))
    result = staged(trials=4, stages=2, checkpoint_every=1).panda(
        tmp_path / "live", caviar.Inline(), params={"lr": 0.1}, background=False
    )
    assert len(result.curves()) == 4  # one run has none


def test_a_stage_never_leaves_the_declared_space(tmp_path: Path) -> None:
    def train(trial: caviar.Trial) -> None:
        for step in trial.steps():
            trial.report(loss=-trial.params["share"] + 1 / step)  # best at the end of its range

    space = Space(share=Float(0.05, 1.0, scale="log"))
    sweep = caviar.Sweep(train, space, metric="loss", trials=120, max_step=2, stages=3)
    result = sweep.run(tmp_path / "a", caviar.Inline())
    assert result.trials()["params.share"].max() <= 1.0
    assert result.stage_spaces[2]["share"].low > 0.1
    assert result.zoom()["share"].high > 1.0  # which a person may want


def test_stages_that_would_have_no_trials_are_passed_over(tmp_path: Path) -> None:
    """The same trials are never gone by twice."""
    sweep = staged(trials=60, first=[{"lr": 0.01 * (1 + trial)} for trial in range(45)])
    result = sweep.run(tmp_path / "a", caviar.Inline())
    assert result.trials().groupby("stage").size().to_dict() == {0: 45, 2: 15}


def test_a_disk_that_fails_for_a_while_delays_a_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = 0

    def failing(*arguments: Any) -> Narrowed:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OSError("connection reset by peer")
        return narrowed(*arguments)

    narrowed = launch._narrowed
    monkeypatch.setattr(launch, "_narrowed", failing)
    monkeypatch.setattr(runner, "NARROW_AGAIN_S", 0.0)
    result = staged(trials=60).run(tmp_path / "a", caviar.Inline())
    assert result.trials().groupby("stage").size().to_dict() == {0: 20, 1: 20, 2: 20}
    assert caplog.text.count("stage 1 cannot be opened yet: connection reset by peer") == 1


def test_a_fork_of_a_staged_sweep_has_none_and_can_be_gone_on_with(tmp_path: Path) -> None:
    def train(trial: caviar.Trial) -> None:
        for step in trial.steps():
            trial.report(loss=trial.params["lr"] / step)
            if trial.checkpoint_due:
                with trial.checkpoint() as folder:
                    (folder / "x").write_text("x")

    space = Space(lr=Float(1e-4, 1.0, scale="log"))
    sweep = caviar.Sweep(train, space, metric="loss", trials=6, max_step=4, stages=3, checkpoint_every=2)
    sweep.run(tmp_path / "a", caviar.Inline())
    how: dict[str, Any] = {"trial": 5, "max_step": 6}
    sweep.forked(tmp_path / "a", vary=["lr"], trials=3, **how).run(tmp_path / "b", caviar.Inline())
    sweep.run(tmp_path / "b", caviar.Inline(), resume=True)
    assert len(sweep.extend(tmp_path / "b", caviar.Inline(), trials=2).trials()) == 5
    live = sweep.forked(tmp_path / "a", **how)
    live.panda(tmp_path / "c", caviar.Inline(), background=False)
    sweep.panda(tmp_path / "c", caviar.Inline(), resume=True, extend_to=8, background=False)


def test_a_space_that_has_changed_is_gone_on_with_before_one_is_zoomed(tmp_path: Path) -> None:
    sweep = staged(trials=30, stages=1)
    space = sweep.run(tmp_path / "a", caviar.Inline()).zoom()
    other = sweep.but(space=Space(lr=Float(1e-5, 1e2, scale="log"), other=Float(0, 1)))
    with pytest.raises(UsageError, match="go on with that one first"):
        other.extend(tmp_path / "a", caviar.Inline(), trials=9, space=space, allow_change=True)


def test_another_seed_begins_a_stage_in_the_space_that_was_zoomed_to(tmp_path: Path) -> None:
    sweep = staged(trials=120, stages=2)
    zoomed = sweep.run(tmp_path / "a", caviar.Inline()).last_space
    result = sweep.but(seed=5).extend(tmp_path / "a", caviar.Inline(), trials=10, allow_change=True)
    assert result.last_space == zoomed != result.space


def test_trials_that_waited_for_a_stage_begin_when_it_opens(tmp_path: Path) -> None:
    def train(trial: caviar.Trial) -> None:
        for _ in trial.steps():
            trial.report(loss=trial.params["lr"])

    sweep = caviar.Sweep(train, SPACE, metric="loss", trials=8, max_step=4, stages=4)
    simulated = caviar.Simulated(workers=8, step_s=lambda params: 1.0 + params["lr"])
    events = sweep.run(tmp_path / "sweep", simulated).events()
    opened = events[events["kind"] == "stage_opened"]["time"].tolist()
    started = events[events["kind"] == "trial_started"]["time"].tolist()
    assert started == [moment for moment in opened for _ in range(2)]
