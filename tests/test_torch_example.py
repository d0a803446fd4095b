"""The PyTorch example: it learns, it goes on exactly after a restart, and its params may change on the way."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import caviar
from caviar.execution.training import Trial
from tests.execution.test_training import Ear, job, launch

torch = pytest.importorskip("torch")
pytest.importorskip("mlxtend")

torch.set_num_threads(1)  # two would wait for each other where the tests are not alone on the machine

PARAMS = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4, "hidden": 32, "dropout": 0.2, "batch_size": 64}


@pytest.fixture(scope="module")
def mnist() -> ModuleType:
    path = Path(__file__).parents[1] / "examples" / "torch_mnist.py"
    spec = importlib.util.spec_from_file_location("torch_mnist_example", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


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


class Steered(Trial):
    """A trial whose params change at given steps."""

    __slots__ = ("changes", "live")

    def __init__(self, changes: Mapping[int, Mapping[str, float]], images: Any) -> None:
        super().__init__(launch(params=PARAMS), job=job(max_step=4), link=Ear(), shared=images)
        self.changes = changes
        self.live = dict(PARAMS)

    @property
    def params(self) -> Mapping[str, Any]:
        return self.live

    def steps(self) -> Iterator[int]:
        for step in super().steps():
            self.live.update(self.changes.get(step, {}))
            yield step

    @property
    def losses(self) -> list[float]:
        assert isinstance(self._link, Ear)
        return [float(row[2]) for _, row in self._link.rows]


@pytest.mark.parametrize(
    "change", [{"lr": 0.01}, {"momentum": 0.5}, {"weight_decay": 0.1}, {"batch_size": 20}, {"dropout": 0.5}]
)
def test_params_that_change_on_the_way_matter_from_then_on(
    mnist: ModuleType, few: Any, change: Mapping[str, float]
) -> None:
    plain, steered = Steered({}, few), Steered({3: change}, few)
    for trial in (plain, steered):
        mnist.train(trial)
    assert steered.losses[:2] == plain.losses[:2]
    assert steered.losses[2:] != plain.losses[2:]
    assert len(steered.losses) == 4
