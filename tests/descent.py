"""A training that can be worked out by hand: gradient descent with momentum, going on from its checkpoints."""

from __future__ import annotations

from collections.abc import Iterator

import caviar


def descent(trial: caviar.Trial) -> Iterator[tuple[int, float]]:
    """Each step, and where it came to; what is done with that comes before the checkpoint."""
    x, velocity = 5.0, 0.0
    if trial.restored:
        x, velocity = (float(word) for word in (trial.restored / "state").read_text().split())
    for step in trial.steps():
        velocity = trial.params["momentum"] * velocity - 0.1 * trial.params["lr"] * x
        x += velocity
        yield step, x
        if trial.checkpoint_due:
            with trial.checkpoint() as folder:
                (folder / "state").write_text(f"{x!r} {velocity!r}")
