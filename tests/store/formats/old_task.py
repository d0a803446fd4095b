"""The sweep that made the folders of old formats; run it with the caviar of that time."""

import os

import caviar


def train(trial):
    x = 5.0
    if trial.restored:
        x = float((trial.restored / "x").read_text())
    for step in trial.steps():
        if trial.id == 0 and step == 3 and not trial.restored and os.environ.get("CAVIAR_FAIL"):
            raise ValueError("at first")
        if trial.id == 8 and step == 4 and os.environ.get("CAVIAR_DIE"):
            os._exit(9)
        x *= 1 - trial.params["lr"]
        trial.report(loss=x * x)
        if step % 2:
            trial.report(odd=step)
        if trial.checkpoint_due:
            with trial.checkpoint() as folder:
                (folder / "x").write_text(repr(x))


sweep = caviar.Sweep(
    train,
    caviar.Space(
        lr=caviar.Float(1e-3, 1.0, scale="log"),
        optimizer=caviar.Choice(["sgd", "adam"]),
        beta=caviar.Float(0.9, 0.999, scale="one_minus_log", when={"optimizer": "adam"}),
    ),
    metric="loss",
    trials=9,
    max_step=6,
    checkpoint_every=2,
    scheduler=caviar.Asha(grace_steps=2, reduction_factor=2),
)
