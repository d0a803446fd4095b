"""Settings of a sweep that are trained again, beside fresh ones."""

from __future__ import annotations

import math
import random
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

import caviar
from caviar import runner
from caviar.analysis.then_and_now import compare
from caviar.errors import CaviarError, FolderError, UsageError
from caviar.execution import inline
from caviar.messages import Launch
from caviar.recheck import last_path, next_path, retest
from caviar.store import inbox
from caviar.store.declaration import declared_mistake

SPACE = caviar.Space(lr=caviar.Float(1e-4, 1.0, scale="log"), kind=caviar.Choice(["a", "b"]), epsilon=1e-8)
SD = 0.002


def value(params: Any, seed: int, best: float = -2.0) -> float:
    """Best at an lr of 0.01, with noise by the seed."""
    return 0.9 - 0.05 * (math.log10(params["lr"]) - best) ** 2 + random.Random(seed).gauss(0, SD)


def train(trial: caviar.Trial) -> None:
    top = value(trial.params, trial.seed)
    for step in trial.steps():
        trial.report(score=top * (1 - math.exp(-step)), loss=1 - top, seed=float(trial.seed))


def moved(trial: caviar.Trial) -> None:
    top = value(trial.params, trial.seed, best=-1.0)
    for step in trial.steps():
        trial.report(score=top * (1 - math.exp(-step)))


def worse(trial: caviar.Trial) -> None:
    top = value(trial.params, trial.seed) - 0.1
    for step in trial.steps():
        trial.report(score=top * (1 - math.exp(-step)))


def broken(trial: caviar.Trial) -> None:
    raise ValueError("no such data")


def breaks_where_it_was_good(trial: caviar.Trial) -> None:
    if trial.params["lr"] > 0.003 and trial.params["lr"] < 0.03:
        raise ValueError("too good")
    train(trial)


def diverges(trial: caviar.Trial) -> None:
    for _ in trial.steps():
        trial.report(score=math.nan)


def sweep(function: Any = train, **changes: Any) -> caviar.Sweep:
    arguments: dict[str, Any] = {
        "space": SPACE,
        "metric": "score",
        "mode": "max",
        "trials": 60,
        "max_step": 9,
        "scheduler": caviar.Asha(grace_steps=1),
        "retries": 0,
        **changes,
    }
    return caviar.Sweep(function, **arguments)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recheck") / "parent"
    sweep().run(path, caviar.Inline())
    return path


@pytest.fixture
def then(parent: Path, tmp_path: Path) -> Path:
    """A copy of it for each test."""
    return Path(shutil.copytree(parent, tmp_path / "then"))


def test_the_same_code_holds(then: Path) -> None:
    found = sweep().recheck(then, caviar.Inline())
    assert found.path == then.with_name("then-recheck")
    assert found.outcome == "holds"
    assert found.values == "same"
    assert found.changes == ()
    result = caviar.load(then)
    assert [one.trial for one in found.settings] == result.top(5).index.tolist()
    assert [one.then for one in found.settings] == result.top(5)["value"].tolist()
    assert found.among == len(result.top(60))
    assert len(found.fresh) == 20
    assert found.noise.df == 10
    assert found.noise.sd == pytest.approx(SD, rel=0.6)
    assert found.unfinished == 0
    low, high = found.interval
    assert low < found.choice.mean < high
    assert "so: the choice holds" in str(found)


def test_what_is_trained_is_an_ordinary_sweep_of_these_settings(then: Path) -> None:
    found = sweep().recheck(then, caviar.Inline(), top=2, seeds=3, fresh=4)
    result, recorded = caviar.load(found.path), caviar.load(then)
    trials = result.trials()
    assert len(trials) == 10
    assert (trials["status"] == "completed").all(), "nothing is stopped early"
    assert found.choice.trials == (0, 2, 4), "of each setting one, then the next seed"
    for one in found.settings:
        for again in one.trials:
            assert result.params_of(again) == recorded.params_of(one.trial)
    assert trials["metrics.seed"].nunique() == 10
    before = set(recorded.trials()["params.lr"])
    assert not before & {one.params["lr"] for one in found.fresh}, "fresh ones are other ones"
    assert result.declaration["recheck"] == {
        "path": str(then),
        "created_us": recorded.declaration["created_us"],
        "trials": [[one.trial, list(one.trials)] for one in found.settings],
        "of": found.among,
    }
    frame = found.frame()
    assert frame.index.tolist() == [one.trial for one in found.settings]
    assert frame["now"].tolist() == [one.mean for one in found.settings]
    assert frame["seeds"].tolist() == [3, 3]


def test_values_are_of_the_curves_as_far_as_then(then: Path) -> None:
    stopped = caviar.load(then).top(60)
    stopped = stopped[stopped["status"] == "stopped"].index[0]
    found = sweep().recheck(then, caviar.Inline(), trials=[int(stopped)], fresh=0)
    one = found.choice
    assert one.steps < 9
    curves = caviar.load(found.path).curves().set_index(["trial", "step"])["score"]
    assert one.now == tuple(curves[again, 9] for again in one.trials)
    assert one.up_to == tuple(curves[again, one.steps] for again in one.trials)
    assert abs(one.change) < 5 * SD
    assert found.outcome == "alone"
    assert f"up to step {one.steps}, as far as then" in str(found)


def test_where_the_best_lies_elsewhere_now_the_choice_does_not_hold(then: Path) -> None:
    found = sweep(moved).recheck(then, caviar.Inline())
    assert found.outcome == "moved"
    assert found.values == "worse"
    assert found.beat >= 2
    assert any("code: " in line for line in found.changes)
    text = str(found)
    assert "changed since then" in text
    assert "its curves part at step 1" in text
    assert "does not hold: sweep again" in text


def test_where_all_do_worse_alike_the_choice_holds_and_that_is_told(then: Path) -> None:
    found = sweep(worse).recheck(then, caviar.Inline())
    assert found.outcome == "holds"
    assert found.values == "worse"
    assert "the choice holds, with worse values than then" in str(found)
    assert "code, data or machine do something else now" in str(found)


def test_one_setting_over_several_seeds(then: Path) -> None:
    found = sweep().recheck(then, caviar.Inline(), top=1, fresh=0, seeds=5)
    assert len(found.choice.now) == 5
    assert found.noise.df == 4
    assert found.noise.sd == pytest.approx(found.choice.sd)
    assert found.outcome == "alone"
    assert math.isnan(found.p_all)
    assert found.p_values == found.choice.p


def test_one_seed_of_each_says_nothing_of_the_noise(then: Path) -> None:
    found = sweep().recheck(then, caviar.Inline(), top=3, fresh=3, seeds=1)
    assert found.outcome == "unclear"
    assert found.values == "unclear"
    assert "train each setting from several seeds" in str(found)
    assert math.isnan(found.choice.p)


def test_less_may_be_better(tmp_path: Path) -> None:
    low = sweep(metric="loss", mode="min")
    low.run(tmp_path / "low", caviar.Inline())
    found = low.recheck(tmp_path / "low", caviar.Inline())
    assert found.outcome == "holds"
    assert found.choice.then == caviar.load(tmp_path / "low").best.value
    assert found.best_fresh is not None
    assert found.best_fresh.value == min(one.value for one in found.fresh)
    assert found.rival is not None
    assert found.rival.mean == min(one.mean for one in found.settings[1:])


def test_many_reports_in_virtual_time(tmp_path: Path) -> None:
    def curves(launch: Launch) -> dict[str, list[float]]:
        top = value(launch.params, launch.seed)
        return {"score": [top * (1 - math.exp(-step)) for step in range(1, 10)]}

    declared = sweep(trials=2000)
    declared.run(tmp_path / "many", caviar.Simulated(curves=curves))
    found = declared.recheck(tmp_path / "many", caviar.Simulated(curves=curves), top=10, seeds=4, fresh=50)
    assert found.outcome == "holds"
    assert found.values == "same"
    assert found.noise.df == 30


# --- what does not train as it did --------------------------------------------------------------------------


def test_where_nothing_trains_any_more(then: Path) -> None:
    found = sweep(broken).recheck(then, caviar.Inline(), top=2, fresh=1)
    assert found.outcome == "fails"
    assert found.values == "unclear"
    assert "no such data" in str(found)
    assert "does not train any more: sweep again" in str(found)
    assert math.isnan(found.choice.mean)
    assert found.frame()["failed"].tolist() == [3, 3]


def test_where_only_what_was_good_fails(then: Path) -> None:
    found = sweep(breaks_where_it_was_good).recheck(then, caviar.Inline(), top=2, seeds=2, fresh=10)
    assert found.outcome == "fails"
    assert found.fresh
    assert found.unfinished == 0
    assert "2 of 2 trainings have no value: ValueError: too good" in str(found)


def test_a_fault_that_repeats_ends_it_early_and_that_is_told(then: Path) -> None:
    found = sweep(broken).recheck(then, caviar.Inline(), top=5, fresh=20)
    assert found.outcome == "fails"
    assert found.cut_short is not None
    assert "no such data" in found.cut_short
    assert "as the recheck was stopped" in str(found)


def test_where_nothing_finite_is_reported(then: Path) -> None:
    found = sweep(diverges).recheck(then, caviar.Inline(), top=2, fresh=2)
    assert found.outcome == "fails"
    assert "fresh: all 2 have no value" in str(found)
    assert found.fresh == ()


def test_where_the_seed_changes_nothing(tmp_path: Path) -> None:
    def still(trial: caviar.Trial) -> None:
        for step in trial.steps():
            trial.report(score=trial.params["lr"] * step)

    declared = sweep(still)
    declared.run(tmp_path / "still", caviar.Inline())
    found = declared.recheck(tmp_path / "still", caviar.Inline(), fresh=0)
    assert found.noise.sd == 0
    assert found.outcome == "holds"
    assert found.values == "same"
    said = str(found)
    assert "all seeds gave the same value, so seed noise is 0: does the function use trial.seed?" in said
    assert f"then and now: trial {found.choice.trial} is as then\n" in said
    assert " p " not in said


def test_fresh_ones_without_a_value_are_counted(then: Path) -> None:
    def at_times(trial: caviar.Trial) -> None:
        if trial.id in (4, 5):
            raise ValueError(f"no luck: {trial.id}")
        train(trial)

    found = sweep(at_times).recheck(then, caviar.Inline(), top=2, seeds=2, fresh=4)
    assert (found.fresh_failed, len(found.fresh)) == (2, 2)
    assert "fresh: the best of 2 (2 of 4 failed) has" in str(found)


def test_where_all_values_are_equal(tmp_path: Path) -> None:
    def flat(trial: caviar.Trial) -> None:
        for _ in trial.steps():
            trial.report(score=1.0)

    declared = sweep(flat, trials=4)
    declared.run(tmp_path / "flat", caviar.Inline())
    found = declared.recheck(tmp_path / "flat", caviar.Inline(), fresh=2)
    assert found.outcome == "holds"
    assert len(found.settings) == 4, "as many as there are"


def test_a_metric_that_is_not_reported_any_more_is_a_failure_that_is_told(then: Path) -> None:
    def other(trial: caviar.Trial) -> None:
        for _ in trial.steps():
            trial.report(accuracy=1.0)

    found = sweep(other).recheck(then, caviar.Inline(), top=1, fresh=0)
    assert found.outcome == "fails"
    assert "no report of score" in str(found)


# --- what is chosen, and what is left out -------------------------------------------------------------------


def chosen(then: Path, **how: Any) -> Any:
    space = how.pop("space", SPACE)
    how = {"metric": "score", "mode": "max", **how}
    return retest(caviar.load(then), space, **how)


def test_settings_that_today_s_space_lacks_are_left_out(then: Path) -> None:
    top = caviar.load(then).top(10)
    a = [trial for trial in top.index if top.at[trial, "params.kind"] == "a"]
    assert 0 < len(a) < 10
    space = caviar.Space(lr=SPACE["lr"], kind=caviar.Choice(["a", "c"]))
    found = chosen(then, space=space, top=len(a))
    assert [trial for trial, _ in found.settings] == a
    assert "today's space does not have its params: param 'kind'" in found.left_out[0]
    for gone in (caviar.Space(lr=SPACE["lr"]), caviar.Space(SPACE, new=caviar.Float(0, 1))):
        with pytest.raises(UsageError, match=r"nothing can be trained again: trial \d+ is left out"):
            chosen(then, space=gone)


def test_a_constant_may_change_and_is_told(then: Path) -> None:
    space = caviar.Space({**SPACE, "epsilon": 1e-7})
    found = sweep(space=space).recheck(then, caviar.Inline(), top=2, fresh=1)
    assert found.choice.params.keys() == {"lr", "kind"}
    assert caviar.load(found.path).params_of(0)["epsilon"] == 1e-7
    assert any(line.startswith("space: epsilon") for line in found.changes)


# --- a sweep in stages --------------------------------------------------------------------------------------


def beyond(trial: caviar.Trial) -> None:
    """Best at an lr of 3, beyond what is declared."""
    trial.report(score=value(trial.params, trial.seed, best=math.log10(3)))


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By hand, as a sweep by itself never leaves the space that was declared."""
    path = tmp_path_factory.mktemp("staged") / "then"
    declared = sweep(beyond, trials=60, scheduler=caviar.RunAll())
    result = declared.run(path, caviar.Inline())
    for _ in range(2):
        result = declared.extend(path, caviar.Inline(), trials=60, space=result.zoom())
    assert caviar.load(path).best.params["lr"] > 1
    return path


def test_what_a_wider_stage_found_is_trained_again(staged: Path, caplog: pytest.LogCaptureFixture) -> None:
    declared, result = sweep(beyond, trials=60, scheduler=caviar.RunAll()), caviar.load(staged)
    found = declared.recheck(staged, caviar.Inline(), top=3, out=staged.with_name("again"))
    assert not [record for record in caplog.records if "left out" in record.getMessage()]
    assert [one.trial for one in found.settings] == result.top(3).index.tolist()
    assert found.untried is None
    assert found.changes == ()
    high = max(space["lr"].high for space in result.stage_spaces.values())  # type: ignore[union-attr]
    space = caviar.load(found.path).space
    assert space == caviar.Space({**SPACE, "lr": caviar.Float(1e-4, high, scale="log")})
    assert any(one.params["lr"] > 1 for one in found.fresh)
    assert declared.run(found.path, caviar.Inline(), resume=True).space == space
    assert declared.recheck(staged, out=found.path) == found
    other = sweep(beyond, trials=180, space=caviar.Space({**SPACE, "epsilon": 1e-7}))
    with pytest.raises(CaviarError, match="no finite number from"):
        other.run(found.path, caviar.Inline(), resume=True)


def test_a_choice_that_is_left_out_does_not_hold(staged: Path, caplog: pytest.LogCaptureFixture) -> None:
    space = caviar.Space({**SPACE, "epsilon": 1e-7})  # not what is on record: its ranges hold as they are
    how: dict[str, Any] = {"top": 3, "fresh": 2, "out": staged.with_name("narrow")}
    found = sweep(beyond, space=space).recheck(staged, caviar.Inline(), **how)
    best = caviar.load(staged).top(1).index[0]
    assert found.untried is not None
    assert found.untried[0] == best
    assert found.outcome == "untried"
    assert "the choice holds" not in str(found)
    assert f"trial {best}, which came first then, could not be tried: today's space" in str(found)
    assert found.to_dict()["untried"]["trial"] == best
    told = [record.getMessage() for record in caplog.records if record.name == "caviar.sweep"]
    assert len(told) == 6
    assert told[-1].startswith("and ")
    assert told[-1].endswith(" more")


def test_the_trials_that_one_names(then: Path) -> None:
    top = caviar.load(then).top(60).index.tolist()
    found = chosen(then, trials=[top[7], top[3], top[7]])
    assert [trial for trial, _ in found.settings] == [top[7], top[3]]
    with pytest.raises(UsageError, match=r"trial 99: .* has 60 trials, and none of this number"):
        chosen(then, trials=[99])


def test_trials_that_failed_or_were_touched_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "INBOX_S", -1.0)  # the driver looks into the inbox at every report
    monkeypatch.setattr(inline, "FLUSH_S", -1.0)
    path = tmp_path / "then"

    def eventful(trial: caviar.Trial) -> None:
        for step in trial.steps():
            if (trial.id, step) == (3, 4):
                inbox.post(path, "set", trial=3, args={"changes": {"lr": 0.5}})
            trial.report(score=float(step) * (1 + trial.id))
            if (trial.id, step) == (4, 8):
                raise ValueError("late")

    sweep(eventful, trials=5, scheduler=caviar.RunAll()).run(path, caviar.Inline())
    assert caviar.load(path).trials()["by_hand"].tolist() == [False, False, False, True, False]
    found = chosen(path, top=3)
    assert [trial for trial, _ in found.settings] == [2, 1, 0]
    assert found.of == 3
    assert found.left_out[0] == "trial 4 is left out: it failed then"
    assert found.left_out[1].startswith("trial 3 is left out: somebody, or a rule, changed or stopped it")
    with pytest.raises(UsageError, match="nothing can be trained again: trial 4 is left out: it failed then"):
        chosen(path, trials=[4])


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"top": 0}, r"recheck\(top=0\): needs a whole number of at least 1"),
        ({"fresh": -1}, r"recheck\(fresh=-1\)"),
        ({"seeds": True}, r"recheck\(seeds=True\)"),
        ({"trials": []}, r"recheck\(trials=\[\]\): needs a list"),
        ({"trials": "12"}, r"recheck\(trials='12'\)"),
        ({"mode": "min"}, "do not compare"),
        ({"metric": "accuracy"}, "say so with --same-metric"),
        ({"fresh": 2**28}, "more than a sweep may have"),
    ],
)
def test_mistakes_are_told(then: Path, how: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        chosen(then, **how)
    assert next_path(then) == then.with_name("then-recheck"), "nothing was made"


def test_a_metric_may_have_another_name(then: Path) -> None:
    def renamed(trial: caviar.Trial) -> None:
        top = value(trial.params, trial.seed)
        for step in trial.steps():
            trial.report(accuracy=top * (1 - math.exp(-step)))

    found = sweep(renamed, metric="accuracy").recheck(then, caviar.Inline(), same_metric=True)
    assert found.outcome == "holds"
    assert found.values == "same"
    assert "metric: 'score' -> 'accuracy'" in found.changes


def test_live_runs_and_forks_are_refused(tmp_path: Path) -> None:
    def saves(trial: caviar.Trial) -> None:
        for _ in trial.steps():
            trial.report(score=1.0)
            if trial.checkpoint_due:
                with trial.checkpoint() as folder:
                    (folder / "x").write_text("x")

    declared = sweep(saves, checkpoint_every=3)
    declared.panda(tmp_path / "live", caviar.Inline(), background=False)
    with pytest.raises(UsageError, match="is a live run"):
        declared.recheck(tmp_path / "live", caviar.Inline())
    declared.forked(tmp_path / "live", at_step=6, vary=["lr"], trials=2).run(tmp_path / "fork", caviar.Inline())
    with pytest.raises(UsageError, match="is a fork"):
        declared.recheck(tmp_path / "fork", caviar.Inline())


def test_a_sweep_without_any_value_is_refused(tmp_path: Path) -> None:
    sweep(broken, trials=2).run(tmp_path / "broken", caviar.Inline())
    with pytest.raises(CaviarError, match="no trial has ended with a finite 'score' yet"):
        sweep().recheck(tmp_path / "broken", caviar.Inline())
    with pytest.raises(FolderError, match="no such folder"):
        sweep().recheck(tmp_path / "nothing", caviar.Inline())


def test_a_sweep_that_went_further_is_trained_as_far(tmp_path: Path) -> None:
    def restores(trial: caviar.Trial) -> None:
        top = value(trial.params, trial.seed)
        for step in trial.steps():
            trial.report(score=top * (1 - math.exp(-step)))
            if trial.checkpoint_due:
                with trial.checkpoint() as folder:
                    (folder / "x").write_text("x")

    declared = sweep(restores, checkpoint_every=3, trials=8)
    declared.run(tmp_path / "then", caviar.Inline())
    declared.extend(tmp_path / "then", caviar.Inline(), max_step=15, trials=2)
    found = declared.recheck(tmp_path / "then", caviar.Inline(), top=2, fresh=1)
    assert caviar.load(found.path).declaration["max_step"] == 15
    assert found.choice.steps == 15
    assert found.changes == ()


def test_one_trial_alone(tmp_path: Path) -> None:
    sweep(trials=1).run(tmp_path / "one", caviar.Inline())
    found = sweep(trials=1).recheck(tmp_path / "one", caviar.Inline(), fresh=1)
    assert found.outcome in ("holds", "beaten"), "of two one is the better: that tells of no change"
    assert found.among == 1
    assert "luck" not in str(found).partition("so:")[0].replace("luck and", "")
    assert str(found).count("then and now: trial 0 is") == 1


def test_one_that_was_cut_off_is_rechecked_as_it_stands(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def stops(event: object) -> None:
        if type(event).__name__ == "TrialEnded" and event.trial == 7:  # type: ignore[attr-defined]
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        sweep(scheduler=caviar.RunAll()).run(tmp_path / "cut", caviar.Inline(), on_event=stops)
    found = sweep().recheck(tmp_path / "cut", caviar.Inline(), top=2, fresh=1)
    assert "cut is interrupted: the best so far of those that have ended are taken" in caplog.text
    assert found.among == 8


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {"path": "x", "created_us": 1, "trials": [], "of": 1},
        {"path": "", "created_us": 1, "trials": [[0, [0]]], "of": 1},
        {"path": "x", "created_us": "1", "trials": [[0, [0]]], "of": 1},
        {"path": "x", "created_us": 1, "trials": [[0, [0]]], "of": 0},
        {"path": "x", "created_us": 1, "trials": [[0, []]], "of": 1},
        {"path": "x", "created_us": 1, "trials": [[0, 0]], "of": 1},
        {"path": "x", "created_us": 1, "trials": [[0, [0, 0]]], "of": 1},
        {"path": "x", "created_us": 1, "trials": [[0, [0]], [0, [1]]], "of": 2},
        {"path": "x", "created_us": 1, "trials": [[0, [-1]]], "of": 1},
        {"path": "x", "created_us": 1, "trials": [[True, [2**40]]], "of": 1},
        {"path": "x", "created_us": 1, "trials": [[0, ["0"]]], "of": 1},
        {"path": "x", "created_us": 1, "trials": [0], "of": 1},
        {"path": "x", "created_us": 1, "trials": [[0, [0]]]},
    ],
)
def test_what_a_stranger_may_have_written_is_checked(wrong: Any) -> None:
    good = {"path": "x", "created_us": 1, "trials": [[41, [0, 2]], [7, [1, 3]]], "of": 60}
    assert declared_mistake({"recheck": good}) is None
    assert declared_mistake({"recheck": None}) is None
    assert (declared_mistake({"recheck": wrong}) or "").startswith("recheck is ")


# --- again and again ----------------------------------------------------------------------------------------


def test_each_recheck_has_a_folder_and_fresh_settings_of_its_own(then: Path) -> None:
    first = sweep().recheck(then, caviar.Inline(), top=1, fresh=3)
    assert last_path(then) == first.path
    second = sweep().recheck(then, caviar.Inline(), top=1, fresh=3)
    assert second.path == then.with_name("then-recheck-2")
    assert not {one.params["lr"] for one in first.fresh} & {one.params["lr"] for one in second.fresh}
    again = sweep().recheck(then, caviar.Inline(), out=first.path)
    assert again.to_dict() == first.to_dict(), "compared, and not trained"
    assert caviar.load(then).recheck(out=first.path).to_dict() == first.to_dict()
    through = caviar.load(then).recheck(sweep(), caviar.Inline(), top=1, fresh=0)
    assert through.path == then.with_name("then-recheck-3")


def test_a_comparison_needs_a_recheck_of_this_sweep(then: Path, tmp_path: Path) -> None:
    found = sweep().recheck(then, caviar.Inline(), top=1, fresh=0)
    with pytest.raises(UsageError, match="is no recheck; caviar recheck makes one"):
        compare(caviar.load(found.path), caviar.load(then))
    other = sweep(trials=2).run(tmp_path / "other", caviar.Inline())
    with pytest.raises(UsageError, match=r"is a recheck of .*, and not of"):
        compare(other, caviar.load(found.path))
    with pytest.raises(UsageError, match="needs the Sweep to train with"):
        caviar.load(then).recheck()


def test_a_recheck_is_rechecked_by_the_means_of_its_settings(then: Path) -> None:
    first = sweep().recheck(then, caviar.Inline(), top=3, fresh=5)
    again = chosen(first.path, top=8)
    assert len(again.settings) == 8, "each setting once"
    result = caviar.load(first.path)
    means = {one.mean for one in first.settings} | {one.value for one in first.fresh}
    order = sorted(means, reverse=True)
    ranked = []
    for trial, _ in again.settings:
        of = next((one.mean for one in first.settings if trial in one.trials), None)
        ranked.append(result.top(14).at[trial, "value"] if of is None else of)
    assert ranked == pytest.approx(order)


def test_one_that_was_cut_off_is_told_and_gone_on_with(then: Path) -> None:
    left = {"trials": 4}

    def stops(event: object) -> None:
        if type(event).__name__ == "TrialEnded":
            left["trials"] -= 1
            if not left["trials"]:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        sweep().recheck(then, caviar.Inline(), top=2, fresh=4, on_event=stops)
    path = then.with_name("then-recheck")
    part = sweep().recheck(then, caviar.Inline(), out=path)
    assert part.unfinished > 0
    assert "have not ended: all this is of those that have" in str(part)
    with pytest.raises(UsageError, match="is not the one that was recorded"):
        sweep(worse).run(path, caviar.Inline(), resume=True)
    sweep().run(path, caviar.Inline(), resume=True)
    whole = sweep().recheck(then, caviar.Inline(), out=path)
    assert whole.unfinished == 0
    assert len(whole.fresh) == 4
    sweep().extend(path, caviar.Inline(), trials=3)
    assert len(sweep().recheck(then, caviar.Inline(), out=path).fresh) == 7


def test_it_may_lie_in_an_object_store(s3: str) -> None:
    sweep(trials=6).run(f"{s3}/then", caviar.Inline())
    found = sweep(trials=6).recheck(f"{s3}/then", caviar.Inline(), top=2, fresh=2)
    assert found.path == f"{s3}/then-recheck"
    assert next_path(f"{s3}/then") == f"{s3}/then-recheck-2"
    assert len(found.settings) == 2
