"""The two tasks of bench_panda_vs_caviar.py: real data that scikit-learn ships, networks in plain numpy.

*digits*: the network of examples/digits.py and its space; 1,797 images, split 60 : 20 : 20. An epoch goes once
through the 1,078 training images, each moved at random by up to one pixel, so that long training pays. Here it
matters how one trains.

*diabetes*: a regression, 442 patients with ten measurements each, split 60 : 20 : 20. After a few epochs a network
has learned them by heart. Here it matters when one stops, and how much the weights are held back.

The split, the first weights and the order of the examples follow from the repeat's number and the trial's seed.
Both tasks report the loss on the validation part, by which all is chosen, and what the same network is worth on
the test part, which nobody looks at before the end.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import RidgeCV

import caviar

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import digits

Part = tuple[np.ndarray, np.ndarray]


class Network(Protocol):
    """What both tasks train."""

    def train_epoch(self, x: np.ndarray, y: np.ndarray, params: Mapping[str, Any], epoch: int) -> None: ...

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        """The loss, which chooses, and what people want to know."""

    def save(self, path: Path) -> None: ...

    def load(self, path: Path) -> None: ...


class Shared(NamedTuple):
    """What the trials of one repeat have in common."""

    epoch: Callable[[int, int], Part]
    """The training part as a trial of this seed sees it in this epoch."""
    validation: Part
    test: Part
    trained: list[int]
    """Of every epoch that was trained, its number, in order: what a mode has cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A space, and a network to train with settings from it."""

    name: str
    space: caviar.Space
    network: Callable[[Mapping[str, Any], int], Network]
    """From params and a seed."""
    split: Callable[[int], Shared]
    """From a repeat's number."""
    usual: Mapping[str, Any]
    """What one would begin with who has not tried anything."""
    score: str
    """What `Network.evaluate` gives beside the loss, in words."""
    plain: Callable[[Shared], tuple[float, float]] | None = None
    """Without any network or search: the validation loss and the test score."""

    def train(self, trial: caviar.Trial) -> None:
        """The training function."""
        network, data = self.network(trial.params, trial.seed), trial.shared
        if trial.restored:
            network.load(trial.restored / "network.npz")
        for epoch in trial.steps():
            with np.errstate(all="ignore"):  # it may diverge: for caviar to see
                network.train_epoch(*data.epoch(trial.seed, epoch), trial.params, epoch)
                data.trained.append(epoch)
                loss = network.evaluate(*data.validation)[0]
                score = network.evaluate(*data.test)[1]
            trial.report(loss=loss, test=score)
            if trial.checkpoint_due:
                with trial.checkpoint() as folder:
                    network.save(folder / "network.npz")

    def sweep(self, data: Shared, *, seed: int, **others: Any) -> caviar.Sweep:
        """Its sweep, on these data. Trial 0 has the same seed in every mode: the same first weights and orders."""
        return caviar.Sweep(self.train, self.space, metric="loss", setup=lambda: data, seed=seed, **others)


def split_digits(repeat: int) -> Shared:
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype("float32")
    first, second, third = np.split(np.random.default_rng(repeat).permutation(len(labels)), [1078, 1438])
    moved = digits.shifted(images[first], labels[first])[0].reshape(9, len(first), 64)

    def epoch(seed: int, number: int) -> Part:
        way = np.random.default_rng([seed, number]).integers(0, 9, len(first))
        return moved[way, np.arange(len(first))], labels[first]

    return Shared(epoch, (images[second], labels[second]), (images[third], labels[third]), [])


def split_diabetes(repeat: int) -> Shared:
    x, y = load_diabetes(return_X_y=True)
    first, second, third = np.split(np.random.default_rng(repeat).permutation(len(y)), [266, 354])
    x = ((x - x[first].mean(axis=0)) / x[first].std(axis=0)).astype("float32")
    y = ((y - y[first].mean()) / y[first].std()).astype("float32")
    return Shared(lambda seed, number: (x[first], y[first]), (x[second], y[second]), (x[third], y[third]), [])


def ridge(data: Shared) -> tuple[float, float]:
    """Linear regression, held back as its own cross-validation says."""
    model = RidgeCV(np.logspace(-2, 4, 30)).fit(*data.epoch(0, 1))
    (x, y), test = data.validation, data.test
    return float(((model.predict(x) - y) ** 2).mean()), float(model.score(*test))


class Regression(digits.Network):
    """The same perceptron with one output: ReLU, squared error; SGD with momentum and weight decay."""

    inputs, outputs = 10, 1

    def forward(self, x: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """The input of every layer, and the predictions, shape (n,)."""
        inputs = [x]
        for w, b in zip(self.weights[:-2:2], self.weights[1:-2:2], strict=True):
            inputs.append(np.maximum(inputs[-1] @ w + b, 0))
        return inputs, (inputs[-1] @ self.weights[-2] + self.weights[-1])[:, 0]

    def gradients(self, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
        """Of the mean squared error, in the order of `weights`."""
        inputs, predictions = self.forward(x)
        error = (2 * (predictions - y) / len(y))[:, None]
        found: list[np.ndarray] = []
        for layer in reversed(range(len(inputs))):
            found = [inputs[layer].T @ error, error.sum(axis=0), *found]
            error = (error @ self.weights[2 * layer].T) * (inputs[layer] > 0)
        return found

    def train_epoch(self, x: np.ndarray, y: np.ndarray, params: Mapping[str, Any], epoch: int) -> None:
        lr, momentum, decay = params["lr"], params["momentum"], params["weight_decay"]
        size = params["batch_size"]
        order = np.random.default_rng([self.seed, epoch]).permutation(len(y))
        for batch in np.split(order, range(size, len(order), size)):
            gradients = self.gradients(x[batch], y[batch])
            for w, v, g in zip(self.weights, self.velocity, gradients, strict=True):
                v *= momentum
                v -= lr * (g + decay * w)
                w += v

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        """Mean squared error, and the part of the variance that is explained (R²); NaN once it has diverged."""
        loss = float(((self.forward(x)[1] - y) ** 2).mean())
        return (loss, 1 - loss / float(y.var())) if np.isfinite(loss) else (np.nan, np.nan)


DIGITS = Task(
    name="digits",
    space=digits.space,
    network=digits.Network,
    split=split_digits,
    usual={"lr": 0.01, "momentum": 0.9, "hidden": 64, "batch_size": 64, "layers": 2, "lr_decay": 0.001},
    score="test accuracy",
)
DIABETES = Task(
    name="diabetes",
    space=caviar.Space(
        lr=caviar.Float(1e-4, 1.0, scale="log"),
        momentum=caviar.Float(0.9, 0.999, scale="one_minus_log"),
        hidden=caviar.Int(16, 256, scale="log"),
        batch_size=caviar.Choice([16, 32, 64, 128]),
        layers=caviar.Int(1, 3),
        weight_decay=caviar.Float(1e-5, 1.0, scale="log"),
    ),
    network=Regression,
    split=split_diabetes,
    usual={"lr": 0.01, "momentum": 0.9, "hidden": 64, "batch_size": 32, "layers": 2, "weight_decay": 1e-4},
    score="test R²",
    plain=ridge,
)
TASKS = {task.name: task for task in (DIGITS, DIABETES)}
