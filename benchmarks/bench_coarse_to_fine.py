"""Coarse to fine against sampling from one space, and against Optuna's TPE, at equal numbers of trials.

    python benchmarks/bench_coarse_to_fine.py            # about ten minutes on two cores
    python benchmarks/bench_coarse_to_fine.py --quick    # a smoke test

The tasks are in `landscapes.py`: functions with known optima on log and one_minus_log scales, also such where
coarse to fine cannot help or leads astray; the 10-epoch runs of `data/openclip_curves.parquet`, where a setting is
worth what its nearest run was; and the network of `examples/digits.py`, trained for six epochs with Ray out of the
way. Every search is a whole sweep, in virtual time, with 8 workers, each trial of one step (the digits: of six).
TPE runs one trial after the other, which is its best case, with its defaults.

How to read it. *best*: what the setting is worth that a search found to be the best by its own noisy measure; the
median over the repeats, quartiles in brackets; less is better, and 0 is the optimum of a function. For the network
it is the error on images that the search did not see. *beats random*: in how many of the repeats it is better than
random sampling with the same seed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import multiprocessing
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from contrast import quartiles
from landscapes import Landscape, landscapes
from machine import describe, print_table, save, workers

import caviar

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

WORKERS = 8
EPOCHS = 6
DIGITS = "digits, a network"
WAYS: Mapping[str, Mapping[str, Any] | None] = {
    "random": {},
    "Sobol": {"sampler": caviar.SobolSampler()},
    "2 stages": {"stages": 2},
    "3 stages": {"stages": 3},
    "5 stages": {"stages": 5},
    "3 stages, Sobol": {"stages": 3, "sampler": caviar.SobolSampler()},
    "TPE (Optuna)": None,
}
"""How each searches: what of a Sweep; None: Optuna."""

Found = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two repeats of two tasks")
    parser.add_argument("--repeats", type=int, default=100, help="searches of each kind (default 100)")
    parser.add_argument("--trials", type=int, action="append", help="trials of a search (default 40 and 120)")
    parser.add_argument("--task", action="append", help="only this one")
    parser.add_argument("--show", type=Path, help="print the tables of a JSON that there is already")
    parser.add_argument("--json", type=Path, help="default: results/coarse_to_fine.json beside this file")
    arguments = parser.parse_args()
    if arguments.show is not None:
        print_results(json.loads(arguments.show.read_text())["runs"])
        return
    tasks = arguments.task or ([*landscapes()][:2] if arguments.quick else [*landscapes(), DIGITS])
    repeats = 2 if arguments.quick else arguments.repeats
    sizes = arguments.trials or ([40] if arguments.quick else [40, 120])
    jobs = [
        (task, way, trials, number)
        for task, trials, way in itertools.product(tasks, sizes, WAYS)
        for number in range(min(repeats, 20) if task == DIGITS else repeats)
        if not (task == DIGITS and trials > 40)
    ]
    with multiprocessing.get_context("spawn").Pool(workers(), initializer=_quiet) as pool:
        runs = pool.starmap(search, jobs, chunksize=4)
    print_results(runs)
    save(
        "coarse_to_fine", {"machine": describe(Path.cwd()), "quick": arguments.quick, "runs": runs}, arguments.json
    )


def _quiet() -> None:
    """Of each stage that could not be narrowed a line is logged: thousands, in all."""
    logging.getLogger("caviar").setLevel(logging.ERROR)


def search(task: str, way: str, trials: int, number: int) -> Found:
    """One search; ``number`` is the seed of everything in it."""
    arguments = WAYS[way]
    landscape = _digits() if task == DIGITS else landscapes()[task]
    if arguments is None:
        params = _by_optuna(landscape, trials, number)
    else:
        params = _by_caviar(landscape, trials, number, arguments)
    best = _test_error(params, number) if task == DIGITS else landscape.value(params, number)
    return {"task": task, "way": way, "trials": trials, "number": number, "best": best, "params": dict(params)}


def _seen(landscape: Landscape, params: Mapping[str, Any], number: int, trial: int) -> float:
    """What a search sees of a setting's value."""
    noise = np.random.default_rng([number, trial, 7]).normal(0, landscape.noise) if landscape.noise else 0.0
    return landscape.value(params, number) + noise


def _by_caviar(landscape: Landscape, trials: int, number: int, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    def curve(launch: Any) -> dict[str, list[float]]:
        return {"loss": [_seen(landscape, launch.params, number, launch.trial)]}

    sweep = caviar.Sweep(
        _never_called, landscape.space, metric="loss", trials=trials, max_step=1, seed=number, **arguments
    )
    with tempfile.TemporaryDirectory() as folder:
        result = sweep.run(Path(folder) / "sweep", caviar.Simulated(WORKERS, curves=curve))
        return result.best.params


def _never_called(trial: caviar.Trial) -> None:
    raise AssertionError("the curves are known")


def _by_optuna(landscape: Landscape, trials: int, number: int) -> Mapping[str, Any]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=number))
    best: tuple[float, Mapping[str, Any]] | None = None
    for trial in range(trials):
        asked = study.ask()
        params = {
            name: _suggested(asked, name, each) for name, each in landscape.space.items() if each.when is None
        }
        for name, each in landscape.space.items():
            if each.when is not None and all(params.get(of) == value for of, value in each.when.items()):
                params[name] = _suggested(asked, name, each)
        value = _seen(landscape, params, number, trial)
        study.tell(asked, value)
        if best is None or value < best[0]:
            best = value, params
    assert best is not None
    return best[1]


def _suggested(asked: Any, name: str, parameter: Any) -> Any:
    """A param as Optuna suggests it; it has no scale for 1 - x, so it is given that as a param."""
    if isinstance(parameter, caviar.Choice):
        return asked.suggest_categorical(name, list(parameter.values))
    if isinstance(parameter, caviar.Int):
        return asked.suggest_int(name, parameter.low, parameter.high, log=parameter.scale == "log")
    if isinstance(parameter, caviar.Float):
        if parameter.scale == "one_minus_log":
            return 1 - asked.suggest_float(name, 1 - parameter.high, 1 - parameter.low, log=True)
        return asked.suggest_float(name, parameter.low, parameter.high, log=parameter.scale == "log")
    return parameter.value


# --- the network -------------------------------------------------------------------------------------------------


@cache
def _digits() -> Landscape:
    """The error on the validation images after some epochs; the split and the first weights are the search's."""
    import tasks

    space = tasks.DIGITS.space
    return Landscape(name=DIGITS, space=space, value=lambda params, number: _trained(params, number)[0])


def _test_error(params: Mapping[str, Any], number: int) -> float:
    return _trained(params, number)[1]


def _trained(params: Mapping[str, Any], number: int) -> tuple[float, float]:
    """The loss on the validation part and the share of errors on the test part."""
    from tasks import TASKS

    data = _split(number)
    network = TASKS["digits"].network(params, number)
    with np.errstate(all="ignore"):
        for epoch in range(1, EPOCHS + 1):
            network.train_epoch(*data.epoch(number, epoch), params, epoch)
        loss = network.evaluate(*data.validation)[0]
        return loss, 1 - network.evaluate(*data.test)[1]


@cache
def _split(number: int) -> Any:
    from tasks import split_digits

    return split_digits(number)


# --- tables ------------------------------------------------------------------------------------------------------


def print_results(runs: Sequence[Found]) -> None:
    known = landscapes()
    for task, trials in dict.fromkeys((run["task"], run["trials"]) for run in runs):
        of = [run for run in runs if run["task"] == task and run["trials"] == trials]
        plain = {run["number"]: run["best"] for run in of if run["way"] == "random"}
        rows = []
        for way in dict.fromkeys(run["way"] for run in of):
            own = [run for run in of if run["way"] == way]
            low, middle, high = quartiles([run["best"] for run in own])
            beats = sum(run["best"] < plain[run["number"]] for run in own)
            rows.append([way, f"{middle:.3g} ({low:.3g} to {high:.3g})", f"{beats} of {len(own)}"])
        kind = "" if task not in known or known[task].unimodal else ", several valleys"
        print(f"\n## {task}{kind}: {trials} trials, {len(plain)} searches\n")
        print_table(["", "best", "beats random"], rows)


if __name__ == "__main__":
    main()
