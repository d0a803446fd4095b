"""Live params in torch's optimizers, under schedulers, across checkpoints; and the whole state in one file."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caviar
from caviar.errors import UsageError

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.optim import SGD, Adam, AdamW, Optimizer  # noqa: E402
from torch.optim import lr_scheduler as lrs  # noqa: E402
from torch.optim.swa_utils import SWALR  # noqa: E402

from caviar.torch import apply, load, save  # noqa: E402

torch.set_num_threads(1)  # two would wait for each other where the tests are not alone on the machine


@dataclass
class Live:
    """A trial whose params change when the test says so."""

    params: dict[str, Any]
    launch_params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.launch_params = dict(self.params)

    def set(self, **changes: float) -> None:
        self.params.update(changes)


def live(**params: Any) -> Live:
    return Live(params)


def weight() -> nn.Parameter:
    return nn.Parameter(torch.ones(3))


def sgd(lr: float, *factors: float, **options: Any) -> SGD:
    """An optimizer with a group for each factor, of that many times the lr."""
    return SGD([{"params": [weight()], "lr": lr * factor} for factor in factors or (1.0,)], lr=lr, **options)


def of(optimizer: Optimizer, option: str) -> list[Any]:
    return [group[option] for group in optimizer.param_groups]


def step(optimizer: Optimizer) -> None:
    for group in optimizer.param_groups:
        for each in group["params"]:
            each.grad = torch.ones_like(each)
    optimizer.step()


def test_it_is_there_when_it_is_asked_for_and_not_before() -> None:
    code = (
        "import sys, caviar; from caviar import *; assert 'torch' not in sys.modules; "
        "print(caviar.torch.apply.__name__, 'lightning' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "apply False\n"


@pytest.mark.parametrize(("name", "missing"), [("torch", "torch"), ("lightning", "lightning")])
def test_what_is_missing_is_told_with_its_extra(name: str, missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; import caviar.{name}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(f'pip install "caviar-sweep[{name}]"')


# --- what changes, and what does not ----------------------------------------------------------------


def test_nothing_changes_until_a_param_does() -> None:
    trial, optimizer = live(lr=0.1, momentum=0.9), sgd(0.1, momentum=0.9)
    assert apply(trial, optimizer) == {}
    assert apply(trial, optimizer) == {}
    trial.set(lr=0.05)
    assert apply(trial, optimizer) == {"lr": (0.1, 0.05)}
    assert apply(trial, optimizer) == {}
    assert of(optimizer, "lr") == [0.05]
    assert of(optimizer, "momentum") == [0.9]


def test_where_nothing_changed_no_group_is_touched() -> None:
    class Group(dict[str, Any]):
        def __setitem__(self, key: str, value: Any) -> None:
            pytest.fail(f"{key} was set")

    trial, optimizer = live(lr=0.1, hidden=64), sgd(0.1, 1.0, 10.0)
    apply(trial, optimizer)
    optimizer.param_groups = [Group(group) for group in optimizer.param_groups]
    assert apply(trial, optimizer) == {}


def test_groups_keep_their_ratios() -> None:
    trial, optimizer = live(lr=0.1), sgd(0.1, 1.0, 10.0, 0.01)
    apply(trial, optimizer)
    for lr in (0.05, 0.7, 1e-6, 0.37, 0.013, 0.2):
        trial.set(lr=lr)
        apply(trial, optimizer)
        assert of(optimizer, "lr")[0] == lr
        assert of(optimizer, "lr") == pytest.approx([lr, lr * 10, lr * 0.01], rel=1e-12)


def test_a_group_that_was_made_with_another_value_keeps_it() -> None:
    trial = live(lr=0.1, weight_decay=0.01)
    optimizer = AdamW(
        [{"params": [weight()]}, {"params": [weight()], "weight_decay": 0.0}], lr=0.1, weight_decay=0.01
    )
    apply(trial, optimizer)
    for decay in (0.0, 0.3):  # of groups that both have 0 it is known which one follows
        trial.set(weight_decay=decay)
        apply(trial, optimizer)
        assert of(optimizer, "weight_decay") == [decay, 0.0]


def test_all_that_it_knows_by_name_in_adam() -> None:
    trial = live(lr=0.1, momentum=0.5, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.0)
    optimizer = Adam([weight()], lr=0.1)
    assert apply(trial, optimizer) == {}
    trial.set(beta1=0.8)
    assert apply(trial, optimizer) == {"beta1": (0.9, 0.8)}
    trial.set(beta2=0.99, epsilon=1e-6, weight_decay=0.1, momentum=0.7)  # Adam has no momentum of that name
    assert apply(trial, optimizer) == {"beta2": (0.999, 0.99), "epsilon": (1e-8, 1e-6), "weight_decay": (0.0, 0.1)}
    assert of(optimizer, "betas") == [(0.8, 0.99)]
    assert of(optimizer, "eps") == [1e-6]
    step(optimizer)


def test_an_lr_in_a_tensor_stays_that_tensor() -> None:
    trial, lr = live(lr=0.1), torch.tensor(0.1)
    optimizer = Adam([{"params": [weight()]}, {"params": [weight()]}], lr=lr)
    apply(trial, optimizer)
    tensors = of(optimizer, "lr")
    trial.set(lr=0.05)
    apply(trial, optimizer)
    assert [after is before for after, before in zip(of(optimizer, "lr"), tensors, strict=True)] == [True, True]
    assert [float(value) for value in of(optimizer, "lr")] == pytest.approx([0.05, 0.05])


def test_an_lr_of_zero_and_back() -> None:
    trial, optimizer = live(lr=0.1), sgd(0.1, 1.0, 10.0)
    scheduler = lrs.ExponentialLR(optimizer, 0.5)
    apply(trial, optimizer, scheduler=scheduler)
    trial.set(lr=0.0)
    apply(trial, optimizer, scheduler=scheduler)
    before = optimizer.param_groups[0]["params"][0].clone()
    step(optimizer)
    assert torch.equal(optimizer.param_groups[0]["params"][0], before)
    scheduler.step()
    trial.set(lr=0.2)
    assert apply(trial, optimizer, scheduler=scheduler) == {"lr": (0.0, 0.2)}
    assert of(optimizer, "lr") == pytest.approx([0.1, 1.0])


def test_a_group_added_on_the_way_follows_too() -> None:
    trial, optimizer = live(lr=0.1, momentum=0.9), sgd(0.1, momentum=0.9)
    apply(trial, optimizer)
    trial.set(lr=0.2)
    apply(trial, optimizer)
    optimizer.add_param_group({"params": [weight()], "lr": 0.02})
    trial.set(lr=0.4)
    apply(trial, optimizer)
    assert of(optimizer, "lr") == pytest.approx([0.4, 0.04])


def test_an_optimizer_made_before_a_change_at_the_first_boundary() -> None:
    trial, optimizer = live(lr=0.1, momentum=0.9), sgd(0.1, momentum=0.9)
    trial.set(lr=0.05)
    assert apply(trial, optimizer) == {"lr": (0.1, 0.05)}
    assert of(optimizer, "lr") == [0.05]


def test_an_optimizer_made_after_a_change() -> None:
    trial = live(lr=0.1)
    trial.set(lr=0.05)
    optimizer = sgd(0.05)
    assert apply(trial, optimizer) == {}
    assert of(optimizer, "lr") == [0.05]


def test_names_choose_params_and_say_what_they_are() -> None:
    trial = live(generator_lr=0.1, critic_lr=0.4, momentum=0.2)
    generator, critic = sgd(0.1, momentum=0.7), sgd(0.4)
    for names, optimizer in (({"generator_lr": "lr"}, generator), ({"critic_lr": "lr"}, critic)):
        apply(trial, optimizer, names=names)
    trial.set(generator_lr=0.2)
    assert apply(trial, generator, names={"generator_lr": "lr"}) == {"generator_lr": (0.1, 0.2)}
    assert apply(trial, critic, names={"critic_lr": "lr"}) == {}
    assert of(generator, "momentum") == [0.7]
    trial = live(lr=0.1, damp=0.5, momentum=0.3)
    optimizer = sgd(0.1, momentum=0.9, dampening=0.5)
    apply(trial, optimizer, names=("lr",))
    apply(trial, optimizer, names={"damp": "dampening"})
    trial.set(lr=0.3, damp=0.0)
    assert apply(trial, optimizer, names={"damp": "dampening"}) == {"damp": (0.5, 0.0)}
    assert apply(trial, optimizer, names=("lr",)) == {"lr": (0.1, 0.3)}


def test_a_multiple_of_the_param() -> None:
    trial, optimizer = live(lr=0.1), sgd(0.1 * 4, 1.0, 0.5)
    apply(trial, optimizer, lr_factor=4)
    trial.set(lr=0.2)
    apply(trial, optimizer, lr_factor=4)
    assert of(optimizer, "lr") == pytest.approx([0.8, 0.4])


@pytest.mark.parametrize(
    ("params", "make", "arguments", "told"),
    [
        (
            {"lr": 0.1},
            lambda: Adam([weight()]),
            {},
            r"no group of Adam has the param 'lr' .* they have 0.001: make",
        ),
        ({"lr": 0.1, "momentum": 0.9}, lambda: sgd(0.1), {}, r"'momentum' as its momentum, they have 0: make it"),
        ({"lr": 0.1}, lambda: sgd(0.2), {"lr_factor": 4}, r"times lr_factor 4 as its lr"),
        ({"lr": 0.1}, lambda: sgd(0.1), {"names": "lr"}, r"needs several names, as \('lr',\)"),
        ({"lr": 0.1}, lambda: sgd(0.1), {"names": ("rate",)}, r"'rate' is not known by its name"),
        (
            {"lr": 0.1},
            lambda: sgd(0.1),
            {"names": {"rate": "lr"}},
            r"the trial has none of rate; its params are lr",
        ),
        ({"lr": 0.1}, lambda: sgd(0.1), {"names": {"lr": "speed"}}, r"SGD has no option 'speed'.*dampening, lr"),
        ({"a": 0.1, "b": 0.1}, lambda: sgd(0.1), {"names": {"a": "lr", "b": "lr"}}, r"two params for one option"),
    ],
)
def test_mistakes_are_told_at_the_first_call(
    params: dict[str, float], make: Callable[[], Optimizer], arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        apply(live(**params), make(), **arguments)


def test_what_is_no_number_is_left_alone() -> None:
    trial, optimizer = live(lr=0.1, momentum="none", weight_decay=None), sgd(0.1)
    assert apply(trial, optimizer) == {}
    assert apply(trial, optimizer) == {}


# --- schedulers -------------------------------------------------------------------------------------

LENGTH = 24
Make = Callable[[Optimizer], lrs.LRScheduler]

SCHEDULERS: dict[str, Make] = {
    "StepLR": lambda o: lrs.StepLR(o, 5, gamma=0.3),
    "MultiStepLR": lambda o: lrs.MultiStepLR(o, [3, 9, 10], gamma=0.5),
    "ExponentialLR": lambda o: lrs.ExponentialLR(o, 0.9),
    "MultiplicativeLR": lambda o: lrs.MultiplicativeLR(o, lambda n: 0.95 if n % 2 else 1.02),
    "ConstantLR": lambda o: lrs.ConstantLR(o, 0.25, total_iters=8),
    "LinearLR": lambda o: lrs.LinearLR(o, 0.1, 1.0, total_iters=12),
    "PolynomialLR": lambda o: lrs.PolynomialLR(o, total_iters=20, power=2.0),
    "LambdaLR": lambda o: lrs.LambdaLR(o, lambda n: 1 / (1 + 0.2 * n)),
    "CosineAnnealingLR": lambda o: lrs.CosineAnnealingLR(o, LENGTH),
    "CosineAnnealingLR down to a floor": lambda o: lrs.CosineAnnealingLR(o, 10, eta_min=1e-3),
    "CosineAnnealingWarmRestarts": lambda o: lrs.CosineAnnealingWarmRestarts(o, 6, 2, eta_min=1e-3),
    "OneCycleLR": lambda o: lrs.OneCycleLR(o, of(o, "lr"), total_steps=LENGTH + 1, cycle_momentum=False),
    "CyclicLR": lambda o: lrs.CyclicLR(
        o, of(o, "lr"), [4 * lr for lr in of(o, "lr")], step_size_up=4, cycle_momentum=False
    ),
    "SWALR": lambda o: SWALR(o, [lr / 4 for lr in of(o, "lr")], anneal_epochs=8),
    "SequentialLR": lambda o: lrs.SequentialLR(
        o, [lrs.LinearLR(o, 0.1, total_iters=6), lrs.CosineAnnealingLR(o, 18, eta_min=1e-3)], [6]
    ),
    "SequentialLR of three": lambda o: lrs.SequentialLR(
        o, [lrs.ConstantLR(o, 0.1, 100), lrs.LambdaLR(o, lambda n: 0.9**n), lrs.ExponentialLR(o, 0.5)], [4, 15]
    ),
    "ChainedScheduler": lambda o: lrs.ChainedScheduler([lrs.LinearLR(o, 0.2), lrs.ExponentialLR(o, 0.9)]),
}


def curve(make: Make, lrs_at: Mapping[int, float]) -> list[list[float]]:
    """The lr of both groups in each step, with the param as it is from the steps in ``lrs_at`` on."""
    trial = live(lr=lrs_at[0])
    optimizer = sgd(trial.params["lr"], 1.0, 10.0)
    scheduler = make(optimizer)
    found = []
    for n in range(LENGTH):
        trial.set(lr=lrs_at.get(n, trial.params["lr"]))
        apply(trial, optimizer, scheduler=scheduler)
        assert [float(lr) for lr in scheduler.get_last_lr()] == of(optimizer, "lr")
        found.append([float(lr) for lr in of(optimizer, "lr")])
        step(optimizer)
        scheduler.step()
    return found


@pytest.mark.parametrize("at", [1, 4, 7, 16])
@pytest.mark.parametrize("make", SCHEDULERS.values(), ids=SCHEDULERS)
def test_a_scheduler_goes_on_as_if_it_had_been_made_with_the_new_lr(make: Make, at: int) -> None:
    old, new = curve(make, {0: 0.1}), curve(make, {0: 0.03})
    assert old[at:] != new[at:]
    found = curve(make, {0: 0.1, at: 0.03})
    assert found[:at] == old[:at]
    for n in range(at, LENGTH):
        assert found[n] == pytest.approx(new[n], rel=1e-9, abs=1e-15), n


@pytest.mark.parametrize("make", SCHEDULERS.values(), ids=SCHEDULERS)
def test_many_changes_under_a_scheduler_do_not_drift(make: Make) -> None:
    back_and_forth = {n: (0.1, 0.03, 0.5)[n % 3] for n in range(1, 22)}
    found, new = curve(make, {0: 0.1, **back_and_forth, 22: 0.02}), curve(make, {0: 0.02})
    assert found[-1] == pytest.approx(new[-1], rel=1e-9, abs=1e-15)


def test_plateaus_go_on_from_the_new_lr() -> None:
    trial, optimizer = live(lr=0.1), sgd(0.1, 1.0, 10.0)
    scheduler = lrs.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    for given in (None, scheduler):  # it computes nothing anew, so it need not be given
        apply(trial, optimizer, scheduler=given)
    for _ in range(3):
        scheduler.step(1.0)
    assert of(optimizer, "lr") == pytest.approx([0.025, 0.25])
    trial.set(lr=0.4)
    apply(trial, optimizer, scheduler=scheduler)
    assert of(optimizer, "lr") == pytest.approx([0.1, 1.0])
    scheduler.step(1.0)
    assert of(optimizer, "lr") == pytest.approx([0.05, 0.5])


def test_two_schedulers_of_one_optimizer() -> None:
    trial, optimizer = live(lr=0.1), sgd(0.1)
    warm_up, plateau = lrs.LinearLR(optimizer, 0.1, total_iters=3), lrs.ReduceLROnPlateau(optimizer, patience=0)
    both = [warm_up, plateau]
    apply(trial, optimizer, scheduler=both)
    trial.set(lr=0.2)
    apply(trial, optimizer, scheduler=both)
    for _ in range(3):
        step(optimizer)
        warm_up.step()
    assert of(optimizer, "lr") == pytest.approx([0.2])


def test_a_scheduler_that_was_not_given_is_missed_before_it_can_do_harm() -> None:
    trial, optimizer = live(lr=0.1), sgd(0.1)
    lrs.LambdaLR(optimizer, lambda n: 0.9**n)
    with pytest.raises(UsageError, match="a scheduler sets the lr of this optimizer"):
        apply(trial, optimizer)
    trial = live(momentum=0.9)
    optimizer = sgd(0.1, momentum=0.9)
    lrs.LambdaLR(optimizer, lambda n: 0.9**n)
    assert apply(trial, optimizer) == {}  # whoever follows no lr needs none


def test_what_is_no_scheduler_of_this_optimizer_is_refused() -> None:
    trial, optimizer = live(lr=0.1), sgd(0.1)
    with pytest.raises(UsageError, match=r"scheduler=str\): needs one of torch"):
        apply(trial, optimizer, scheduler="cosine")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"scheduler=StepLR\): is another optimizer's"):
        apply(trial, optimizer, scheduler=lrs.StepLR(sgd(0.1), 5))


def test_a_scheduler_that_sets_the_momentum_itself_is_told() -> None:
    trial, optimizer = live(lr=0.1, momentum=0.9), sgd(0.1, momentum=0.9)
    scheduler = lrs.OneCycleLR(optimizer, 0.1, total_steps=10)
    with pytest.raises(UsageError, match="a scheduler sets it: give that cycle_momentum=False"):
        apply(trial, optimizer, scheduler=scheduler)
    assert apply(trial, optimizer, scheduler=scheduler, names=("lr",)) == {}


# --- checkpoints ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", SCHEDULERS.values(), ids=SCHEDULERS)
@pytest.mark.parametrize("then", [0.1, 0.02], ids=["the lr of then", "another lr"])
def test_a_rollback_has_the_groups_as_if_they_had_had_the_lr_of_now(
    make: Make, then: float, tmp_path: Path
) -> None:
    at = 9
    trial = live(lr=0.1)
    optimizer = sgd(0.1, 1.0, 10.0)
    scheduler = make(optimizer)
    for n in range(at + 5):
        if n == 3:
            trial.set(lr=0.3)
        if n == at:
            torch.save((optimizer.state_dict(), scheduler.state_dict()), tmp_path / "state.pt")
            trial.set(lr=1.7)  # what is rolled back
        apply(trial, optimizer, scheduler=scheduler)
        step(optimizer)
        scheduler.step()
    again = live(lr=then)  # another process, which makes all anew
    optimizer = sgd(again.params["lr"], 1.0, 10.0)
    scheduler = make(optimizer)
    states = torch.load(tmp_path / "state.pt", weights_only=True)
    optimizer.load_state_dict(states[0])
    scheduler.load_state_dict(states[1])
    expected = curve(make, {0: then})
    for n in range(at, LENGTH):
        changed = apply(again, optimizer, scheduler=scheduler)
        assert changed == ({"lr": (0.3, then)} if n == at else {})
        assert of(optimizer, "lr") == pytest.approx(expected[n], rel=1e-9, abs=1e-15), n
        step(optimizer)
        scheduler.step()


def test_a_restored_state_in_the_same_process() -> None:
    trial, optimizer = live(lr=0.1, momentum=0.9), sgd(0.1, 1.0, 10.0, momentum=0.9)
    apply(trial, optimizer)
    state = optimizer.state_dict()
    trial.set(lr=0.5, momentum=0.5)
    apply(trial, optimizer)
    optimizer.load_state_dict(state)
    assert of(optimizer, "lr") == pytest.approx([0.1, 1.0])
    assert apply(trial, optimizer) == {"lr": (0.1, 0.5), "momentum": (0.9, 0.5)}
    assert of(optimizer, "lr") == pytest.approx([0.5, 5.0])
    optimizer.load_state_dict(state)
    trial.set(lr=0.1, momentum=0.9)
    assert apply(trial, optimizer) == {}


def test_a_state_from_before_apply_was_used() -> None:
    trial, optimizer = live(lr=0.1), sgd(0.1, 1.0, 10.0)
    state = optimizer.state_dict()
    optimizer = sgd(0.1, 1.0, 10.0)
    optimizer.load_state_dict(state)
    trial.set(lr=0.2)
    apply(trial, optimizer)
    assert of(optimizer, "lr") == pytest.approx([0.2, 2.0])


# --- a real sweep -----------------------------------------------------------------------------------


def test_in_a_sweep_every_trial_has_its_own_params(tmp_path: Path) -> None:
    def train(trial: caviar.Trial) -> None:
        optimizer = sgd(trial.params["lr"], momentum=trial.params["momentum"])
        for _ in trial.steps():
            assert apply(trial, optimizer) == {}
            step(optimizer)
            trial.report(loss=optimizer.param_groups[0]["params"][0].sum(), lr=of(optimizer, "lr")[0])

    space = caviar.Space(lr=caviar.Float(1e-3, 1.0, scale="log"), momentum=caviar.Float(0.1, 0.9), hidden=8)
    result = caviar.Sweep(train, space, metric="loss", trials=5, max_step=3).run(
        tmp_path / "sweep", executor=caviar.Inline()
    )
    trials = result.trials()
    assert trials["metrics.lr"].tolist() == trials["params.lr"].tolist()
    assert result.counts() == {"completed": 5}


def test_the_params_of_a_real_trial_as_it_was_launched() -> None:
    from caviar.execution.training import Trial
    from tests.execution.test_training import JOB, Ear, launch

    trial = Trial(launch(params={"lr": 0.1}), job=JOB, link=Ear(), shared=None)
    optimizer = sgd(0.1)
    assert dict(trial.launch_params) == {"lr": 0.1}
    assert apply(trial, optimizer) == {}
    with pytest.raises(TypeError):
        trial.launch_params["lr"] = 0.2  # type: ignore[index]


# --- the whole state --------------------------------------------------------------------------------


class Training:
    """A small network with all that a state may hang on: dropout, momentum, a scheduler, three generators."""

    def __init__(self, seed: int) -> None:
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Dropout(0.4), nn.Linear(16, 1))
        self.optimizer = Adam(self.model.parameters(), lr=0.01)
        self.scheduler = lrs.MultiStepLR(self.optimizer, [2, 5], gamma=0.5)

    @property
    def parts(self) -> dict[str, Any]:
        return {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler}

    def epoch(self) -> None:
        images = torch.rand(32, 6) + random.random() + float(np.random.normal())
        for batch in torch.randperm(32).split(8):
            self.optimizer.zero_grad()
            (self.model(images[batch]) ** 2).mean().backward()
            self.optimizer.step()
        self.scheduler.step()

    @property
    def weights(self) -> list[Any]:
        return [value.clone() for value in self.model.state_dict().values()]


def test_a_restored_run_is_bit_for_bit_the_run_that_never_stopped(tmp_path: Path) -> None:
    whole = Training(seed=3)
    for epoch in range(8):
        if epoch == 4:
            save(tmp_path, **whole.parts)
        whole.epoch()
    other = Training(seed=4)
    other.epoch()
    load(tmp_path, **other.parts)
    for _ in range(4):
        other.epoch()
    for a, b in zip(whole.weights, other.weights, strict=True):
        assert torch.equal(a, b)
    assert of(other.optimizer, "lr") == of(whole.optimizer, "lr")
    assert (random.random(), np.random.random(), float(torch.rand(()))) != (0, 0, 0)


def test_a_model_alone_is_loaded_without_touching_the_generators(tmp_path: Path) -> None:
    training = Training(seed=1)
    save(tmp_path, **training.parts)
    before = training.weights
    training.epoch()
    state = torch.get_rng_state()
    load(tmp_path, rng=False, model=training.model)
    assert torch.equal(torch.get_rng_state(), state)
    for a, b in zip(training.weights, before, strict=True):
        assert torch.equal(a, b)


def test_a_part_that_was_not_saved_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    training = Training(seed=1)
    save(tmp_path, model=training.model)
    before = training.weights
    training.epoch()
    after = training.weights
    with pytest.raises(UsageError, match=r"load\(optimizer=...\): saved were model"):
        load(tmp_path, model=training.model, optimizer=training.optimizer)
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    for a, b in zip(training.weights, after, strict=True):
        assert torch.equal(a, b)


def test_a_state_that_could_not_be_loaded_is_not_saved_in_silence(tmp_path: Path) -> None:
    class Odd:
        def state_dict(self) -> dict[str, Any]:
            return {"when": Path("here")}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            raise AssertionError

    with pytest.raises(UsageError, match=r"a state holds pathlib\.\w+, which would not be loaded"):
        save(tmp_path, odd=Odd())
    with pytest.raises(UsageError, match=r"save\(epoch=...\): needs something with a state_dict, got int"):
        save(tmp_path, epoch=3)  # type: ignore[arg-type]


def test_generators_are_restored_exactly(tmp_path: Path) -> None:
    def draw() -> tuple[float, ...]:
        return (random.gauss(0, 1), float(np.random.normal()), np.random.randint(10**6), float(torch.randn(())))

    draw()  # so that both normal generators hold the second number of a pair
    save(tmp_path, model=nn.Linear(1, 1))
    first = [draw() for _ in range(5)]
    load(tmp_path, model=nn.Linear(1, 1))
    assert [draw() for _ in range(5)] == first
    assert all(math.isfinite(value) for one in first for value in one)
