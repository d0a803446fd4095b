"""The network of the digits example: right gradients, it learns, it goes on exactly after a restart."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.loading import example

PARAMS = {"lr": 0.02, "momentum": 0.95, "hidden": 48, "batch_size": 64, "layers": 2, "lr_decay": 0.05}


@pytest.fixture(scope="module")
def digits() -> ModuleType:
    return example("digits")


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_gradients_match_finite_differences(digits: ModuleType, layers: int) -> None:
    network = digits.Network({**PARAMS, "hidden": 7, "layers": layers}, seed=3)
    rng = np.random.default_rng(0)
    network.weights = [w.astype("float64") + 0.1 * rng.standard_normal(w.shape) for w in network.weights]
    images, labels = rng.random((20, 64)), rng.integers(0, 10, 20)
    found = network.gradients(images, labels)
    assert [g.shape for g in found] == [w.shape for w in network.weights]
    for w, g in zip(network.weights, found, strict=True):
        for place in rng.integers(0, w.size, 10):
            kept, h = w.flat[place], 1e-6
            w.flat[place] = kept + h
            above = network.evaluate(images, labels)[0]
            w.flat[place] = kept - h
            below = network.evaluate(images, labels)[0]
            w.flat[place] = kept
            assert g.flat[place] == pytest.approx((above - below) / (2 * h), rel=1e-4, abs=1e-8)


def test_network_learns_and_keeps_to_float32(digits: ModuleType) -> None:
    network, data = digits.Network(PARAMS, seed=0), digits.setup()
    before, _ = network.evaluate(*data.validation)
    for epoch in (1, 2, 3):
        network.train_epoch(*data.train, PARAMS, epoch)
    loss, accuracy = network.evaluate(*data.validation)
    assert loss < before / 5
    assert accuracy > 0.9
    assert {w.dtype for w in network.weights + network.velocity} == {np.dtype("float32")}


def test_restored_network_goes_on_exactly(digits: ModuleType, tmp_path: Path) -> None:
    network, data = digits.Network(PARAMS, seed=5), digits.setup()
    network.train_epoch(*data.train, PARAMS, 1)
    network.save(tmp_path / "network.npz")
    network.train_epoch(*data.train, PARAMS, 2)
    other = digits.Network(PARAMS, seed=5)
    other.load(tmp_path / "network.npz")
    other.train_epoch(*data.train, PARAMS, 2)
    for w, v in zip(network.weights + network.velocity, other.weights + other.velocity, strict=True):
        np.testing.assert_array_equal(w, v)


def test_diverged_network_has_neither_loss_nor_accuracy(digits: ModuleType) -> None:
    network, data = digits.Network(PARAMS, seed=0), digits.setup()
    network.weights[0][:] = np.nan
    assert np.isnan(network.evaluate(*data.validation)).all()


def test_split_is_fixed_and_no_image_is_in_two_parts(digits: ModuleType) -> None:
    data, again = digits.setup(), digits.setup()
    originals = data.train[0][4 * 1078 : 5 * 1078]  # the move by (1, 1) of the padding: no move at all
    parts = [originals, data.validation[0], data.test[0]]
    assert [len(part) for part in parts] == [1078, 360, 359]
    assert len(data.train[0]) == len(data.train[1]) == 9 * 1078
    images = {part.tobytes() for whole in parts for part in whole}
    assert len(images) == 1797
    np.testing.assert_array_equal(data.test[0], again.test[0])


def test_shifted_images_keep_their_labels_and_their_ink(digits: ModuleType) -> None:
    images = np.zeros((2, 8, 8), "float32")
    images[0, 3, 4], images[1, 5, 2] = 1.0, 0.5
    moved, labels = digits.shifted(images.reshape(2, 64), np.array([7, 1]))
    assert moved.shape == (18, 64)
    assert moved.dtype == np.float32
    np.testing.assert_array_equal(labels, [7, 1] * 9)
    np.testing.assert_allclose(moved.sum(axis=1), [1.0, 0.5] * 9)
    rows, columns = np.divmod(moved[labels == 7].argmax(axis=1), 8)
    assert {(int(r), int(c)) for r, c in zip(rows, columns, strict=True)} == {
        (3 + down, 4 + right) for down in (-1, 0, 1) for right in (-1, 0, 1)
    }
