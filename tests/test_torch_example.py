"""The PyTorch example: it learns, it goes on exactly after a restart, and its params may change on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import caviar
from tests.loading import example

torch = pytest.importorskip("torch")
pytest.importorskip("mlxtend")

torch.set_num_threads(1)  # two would wait for each other where the tests are not alone on the machine

PARAMS = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4, "hidden": 32, "dropout": 0.2, "batch_size": 64}


@pytest.fixture(scope="module")
def mnist() -> ModuleType:
    return example("torch_mnist")


@pytest.fixture(scope="module")
def images(mnist: ModuleType) -> Any:
    return mnist.setup()


@pytest.fixture(scope="module")
def few(mnist: ModuleType, images: Any) -> Any:
    """So few images that an epoch takes milliseconds."""
    return mnist.Images(*((pixels[:200], digits[:200]) for pixels, digits in images))


def test_split_is_fixed_and_no_image_is_in_two_parts(mnist: ModuleType, images: Any) -> None:
    assert [tuple(pixels.shape) for pixels, _ in images] == [(n, 1, 28, 28) for n in (3000, 1000, 1000)]
    assert (images.train[0].min(), images.train[0].max()) == (0, 1)
    seen = [image.numpy().tobytes() for pixels, _ in images for image in pixels]
    assert len(set(seen)) == 5000
    for _, digits in images:
        assert torch.bincount(digits, minlength=10).min() > 0.07 * len(digits)


def test_network_learns(mnist: ModuleType, images: Any) -> None:
    model, optimizer = mnist.begin(PARAMS, 0, torch.device("cpu"))
    before, _ = mnist.evaluate(model, *images.validation)
    for _ in range(3):
        mnist.train_epoch(model, optimizer, *images.train, PARAMS)
    loss, accuracy = mnist.evaluate(model, *images.validation)
    assert loss < before / 5
    assert accuracy > 0.9


def test_diverged_network_has_no_loss(mnist: ModuleType, few: Any) -> None:
    model, _ = mnist.begin(PARAMS, 0, torch.device("cpu"))
    model.layers[0].weight.data.fill_(float("nan"))
    assert mnist.evaluate(model, *few.validation)[0] != mnist.evaluate(model, *few.validation)[0]


def test_a_run_that_goes_on_is_bit_for_bit_the_one_that_never_stopped(
    mnist: ModuleType, few: Any, tmp_path: Path
) -> None:
    sweep = mnist.sweep.but(trials=2, max_step=4, checkpoint_every=1, scheduler=caviar.RunAll(), setup=lambda: few)
    whole = sweep.run(tmp_path / "whole", executor=caviar.Inline())
    short = sweep.but(max_step=2)
    short.run(tmp_path / "parted", executor=caviar.Inline())
    parted = short.extend(tmp_path / "parted", max_step=4, executor=caviar.Inline())
    assert parted.counts() == {"completed": 2}
    assert parted.curves()["step"].tolist() == [1, 2, 3, 4] * 2
    assert parted.curves().drop(columns="time").equals(whole.curves().drop(columns="time"))


@pytest.fixture
def live(mnist: ModuleType, few: Any, tmp_path: Path) -> Callable[..., caviar.LiveRun]:
    """A live run of eight short epochs, to its end."""

    def live(name: str, **arguments: Any) -> caviar.LiveRun:
        sweep = mnist.sweep.but(setup=lambda: few)
        given: dict[str, Any] = {"max_step": 8, "checkpoint_every": 2, "background": False, **arguments}
        return sweep.panda(tmp_path / name, given.pop("executor", caviar.Inline()), **given)

    return live


@pytest.mark.parametrize(
    "change", [{"lr": 0.01}, {"momentum": 0.5}, {"weight_decay": 0.01}, {"batch_size": 32}, {"dropout": 0.5}]
)
def test_params_that_change_on_the_way_matter_from_then_on(
    live: Callable[..., caviar.LiveRun], change: Mapping[str, float]
) -> None:
    plain, steered = (
        live(name, params=PARAMS, schedule=schedule, max_step=3).curves()["loss"].tolist()
        for name, schedule in (("plain", {}), ("steered", {3: change}))
    )
    assert steered[:2] == plain[:2]
    assert steered[2] != plain[2]


def test_a_run_that_was_changed_and_rolled_back_is_repeated_bit_for_bit(
    mnist: ModuleType, live: Callable[..., caviar.LiveRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    train_epoch = mnist.train_epoch
    trained: list[tuple[float, float]] = []
    """What the optimizer had in each epoch."""

    def watched(model: Any, optimizer: Any, *arguments: Any) -> Any:
        group = optimizer.param_groups[0]
        trained.append((group["lr"], group["momentum"]))
        return train_epoch(model, optimizer, *arguments)

    def reaches(step: int) -> None:
        deadline_s = time.monotonic() + 60
        while run.step < step:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)

    monkeypatch.setattr(mnist, "train_epoch", watched)
    run = live("live", params=PARAMS, max_step=2000, background=True)
    reaches(3)
    changed = run.set(lr=0.2, momentum=0.6)
    assert changed.step is not None
    reaches(changed.step + 3)
    assert run.rollback(to_step=changed.step - 1, lr=0.01) == changed.step - 1
    reaches(changed.step + 3)
    run.stop()
    assert run.wait().counts() == {"stopped": 1}
    assert [values for values, _ in groupby(trained)] == [(0.05, 0.9), (0.2, 0.6), (0.01, 0.9)]
    trained.clear()
    again = live("again", schedule=run.schedule(), max_step=run.step)
    assert [values for values, _ in groupby(trained)] == [(0.05, 0.9), (0.01, 0.9)]
    assert run.curves().drop(columns="time").equals(again.curves().drop(columns="time"))
