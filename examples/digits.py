"""Handwritten digits: which learning rate, momentum, width, depth, batch size and decay suit a small network?

    python examples/digits.py                         # or: caviar run examples/digits.py --out runs/digits

The data are the 1,797 images of 8 x 8 pixels that scikit-learn ships; the network is plain numpy, so the whole
file can be read in five minutes. Everything that caviar needs stands below the line "The sweep".
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_digits

import caviar


class Digits(NamedTuple):
    """Pairs of images, shape (n, 64), float32 in [0, 1], and labels, shape (n,)."""

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def shifted(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every image moved by up to one pixel in each direction: nine times as many images to learn from."""
    padded = np.pad(images.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    moves = [padded[:, down : down + 8, right : right + 8] for down in range(3) for right in range(3)]
    return np.concatenate(moves).reshape(-1, 64), np.tile(labels, 9)


class Network:
    """A multilayer perceptron: ReLU, softmax, cross-entropy; trained by SGD with momentum."""

    inputs, outputs = 64, 10

    def __init__(self, params: Mapping[str, Any], seed: int) -> None:
        rng = np.random.default_rng(seed)
        sizes = [self.inputs, *[params["hidden"]] * params["layers"], self.outputs]
        self.seed = seed
        self.weights: list[np.ndarray] = []  # matrix, bias, matrix, bias, ...
        for n, m in pairwise(sizes):
            self.weights += [rng.normal(0, (2 / n) ** 0.5, (n, m)).astype("float32"), np.zeros(m, "float32")]
        self.velocity = [np.zeros_like(w) for w in self.weights]

    def forward(self, images: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """The input of every layer, and the logarithms of the ten probabilities."""
        inputs = [images]
        for w, b in zip(self.weights[:-2:2], self.weights[1:-2:2], strict=True):
            inputs.append(np.maximum(inputs[-1] @ w + b, 0))
        logits = inputs[-1] @ self.weights[-2] + self.weights[-1]
        logits -= logits.max(axis=1, keepdims=True)
        return inputs, logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    def gradients(self, images: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
        """Of the mean cross-entropy, in the order of `weights`."""
        inputs, log_probabilities = self.forward(images)
        error = np.exp(log_probabilities)
        error[np.arange(len(labels)), labels] -= 1
        error /= len(labels)
        found: list[np.ndarray] = []
        for layer in reversed(range(len(inputs))):
            found = [inputs[layer].T @ error, error.sum(axis=0), *found]
            error = (error @ self.weights[2 * layer].T) * (inputs[layer] > 0)
        return found

    def train_epoch(self, images: np.ndarray, labels: np.ndarray, params: Mapping[str, Any], epoch: int) -> None:
        lr, momentum, batch_size = params["lr"], params["momentum"], params["batch_size"]
        lr /= 1 + params["lr_decay"] * (epoch - 1)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(labels))  # the same after a resume
        for batch in np.split(order, range(batch_size, len(order), batch_size)):
            gradients = self.gradients(images[batch], labels[batch])
            for w, v, g in zip(self.weights, self.velocity, gradients, strict=True):
                v *= momentum
                v -= lr * g
                w += v

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
        """Mean cross-entropy and accuracy; both NaN once the weights have diverged."""
        log_probabilities = self.forward(images)[1]
        loss = -float(log_probabilities[np.arange(len(labels)), labels].mean())
        accuracy = float((log_probabilities.argmax(axis=1) == labels).mean())
        return (loss, accuracy) if np.isfinite(loss) else (np.nan, np.nan)

    def save(self, path: Path) -> None:
        np.savez(path, *self.weights, *self.velocity)

    def load(self, path: Path) -> None:
        with np.load(path) as arrays:
            both = [arrays[name] for name in arrays.files]
        self.weights, self.velocity = both[: len(both) // 2], both[len(both) // 2 :]


# --- The sweep -------------------------------------------------------------------------------------------

space = caviar.Space(
    lr=caviar.Float(1e-4, 1.0, scale="log"),
    momentum=caviar.Float(0.9, 0.999, scale="one_minus_log"),
    hidden=caviar.Int(16, 256, scale="log"),
    batch_size=caviar.Choice([32, 64, 128, 256]),
    layers=caviar.Int(1, 3),
    lr_decay=caviar.Float(1e-3, 1.0, scale="log"),
)


def setup() -> Digits:
    """Once in every training process: the images, always split in the same way, 60 : 20 : 20."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    parts = [((images[i] / 16).astype("float32"), labels[i]) for i in np.split(order, [1078, 1438])]
    return Digits(shifted(*parts[0]), parts[1], parts[2])


def train(trial: caviar.Trial) -> None:
    network, digits = Network(trial.params, trial.seed), trial.shared
    if trial.restored:
        network.load(trial.restored / "network.npz")
    for epoch in trial.steps():
        with np.errstate(all="ignore"):  # a large lr may diverge: for caviar to see, not for a warning
            network.train_epoch(*digits.train, trial.params, epoch)
            loss, accuracy = network.evaluate(*digits.validation)
        trial.report(loss=loss, accuracy=accuracy)
        if trial.checkpoint_due:
            with trial.checkpoint() as folder:
                network.save(folder / "network.npz")


def test_accuracy(params: Mapping[str, Any]) -> float:
    """Train a setting once more, from another seed, and judge it by the images that have chosen nothing so far."""
    network, digits = Network(params, seed=0), setup()
    for epoch in range(1, sweep.max_step + 1):
        network.train_epoch(*digits.train, params, epoch)
    return network.evaluate(*digits.test)[1]


sweep = caviar.Sweep(
    train, space, metric="accuracy", mode="max",
    trials=200, max_step=30, checkpoint_every=10, setup=setup,
    scheduler=caviar.Asha(grace_steps=3, reduction_factor=3),
)  # fmt: skip

if __name__ == "__main__":
    best = sweep.run("runs/digits").best
    print(f"the best of {sweep.trials} settings: {dict(best.params)}")
    print(f"validation accuracy {best.value:.1%}, test accuracy {test_accuracy(best.params):.1%}")
