"""For training functions that use PyTorch Lightning: a callback that connects a Trainer with a trial.

Import it as ``import caviar.lightning``. Nothing else in caviar imports Lightning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

try:
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import Checkpoint
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("lightning", "torch"):
        raise
    raise ModuleNotFoundError(
        'caviar.lightning needs PyTorch Lightning: pip install "caviar-sweep[lightning]"', name=error.name
    ) from None

from torch.optim.lr_scheduler import LRScheduler

from caviar.errors import UsageError
from caviar.messages import RESERVED_METRICS
from caviar.torch.live import Names, apply
from caviar.torch.state import random_state, restore_random_state

if TYPE_CHECKING:
    from caviar.execution.training import Trial

FILE = "lightning.ckpt"
"""The file's name within a checkpoint."""

OURS = "caviar"
"""The entry of that file that holds what Lightning does not save."""


class TrialCallback(Checkpoint):
    """Makes the epochs of a Trainer the steps of a trial: reports, checkpoints, stops, and applies live params.

    ::

        def train(trial):
            callback = caviar.lightning.TrialCallback(trial)
            trainer = lightning.Trainer(max_epochs=trial.max_step, callbacks=[callback], logger=False)
            trainer.fit(Model(trial.params), ckpt_path=callback.ckpt_path)

    At the end of a step it reports what the module has logged (`trainer.callback_metrics`), and where a checkpoint
    is due saves the whole trainer, with the states of all random generators. Metrics of validation are reported
    only where there was one since the last report. Before a step the trial may pause or end, and its params may
    change: these are brought into the optimizers with `caviar.torch.apply`. When the trial is to end,
    `TrialStopped` passes through `Trainer.fit`; at ``max_step`` the trainer stops in good order.

    ``metrics``: the names to report; default: all, but for caviar's own (``step``, ``time``, …).
    ``every_n_batches``: a step is so many batches instead of an epoch. ``names``, ``lr_factor``: as for
    `caviar.torch.apply`; with several optimizers, ``names`` may be a list with an entry for each; ``names=()``
    leaves optimizers alone.

    It is a `Checkpoint` of Lightning's, so the Trainer adds no ModelCheckpoint of its own, and cannot have
    ``enable_checkpointing=False``. A trial is one process: more than one raises `UsageError`.
    """

    def __init__(
        self,
        trial: Trial,
        *,
        metrics: Iterable[str] | None = None,
        every_n_batches: int | None = None,
        names: Names | list[Names] = None,
        lr_factor: float = 1.0,
    ) -> None:
        if isinstance(metrics, str):
            raise UsageError(f"TrialCallback(metrics={metrics!r}): needs several names, as [{metrics!r}]")
        if every_n_batches is not None and every_n_batches < 1:
            raise UsageError(f"TrialCallback(every_n_batches={every_n_batches!r}): needs at least 1")
        self._trial = trial
        self._metrics = None if metrics is None else frozenset(metrics)
        self._every_n_batches = every_n_batches
        self._names = names
        self._lr_factor = lr_factor
        self._steps: Iterator[int] = trial.steps()
        self._step: int | None = None
        """The step that is being trained."""
        self._batches = 0
        """Of this step, those that are trained."""
        self._validated = False
        """Whether there was a validation since the last report."""
        self._of_validation: frozenset[str] = frozenset()
        """The names of metrics that validation logs."""
        self._known_before: frozenset[str] = frozenset()
        self._saving = False
        self._restored: dict[str, Any] | None = None

    @property
    def ckpt_path(self) -> str | None:
        """What `Trainer.fit` goes on from; None at the beginning."""
        restored = self._trial.restored
        return None if restored is None else str(restored / FILE)

    # --- where steps begin and end -----------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse what cannot be one trial."""
        if trainer.world_size > 1:
            raise UsageError(
                f"TrialCallback: the Trainer has {trainer.world_size} processes, and a trial is one: give it "
                "devices=1, and let caviar train several trials at once"
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a step."""
        if self._every_n_batches is None:
            self._begin(trainer)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin a step of batches."""
        if self._every_n_batches is not None and self._batches == 0:
            self._begin(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End a step of batches."""
        self._batches += 1
        if self._batches == self._every_n_batches:
            self._end(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End a step."""
        if self._every_n_batches is None:
            self._end(trainer)

    def _begin(self, trainer: Trainer) -> None:
        self._batches, self._restored = 0, None
        self._step = next(self._steps, None)
        if self._step is None:
            trainer.should_stop = True
            return
        for optimizer, names in zip(trainer.optimizers, self._names_of_each(trainer), strict=True):
            schedulers = [
                config.scheduler
                for config in trainer.lr_scheduler_configs
                if isinstance(config.scheduler, LRScheduler) and config.scheduler.optimizer is optimizer
            ]
            apply(self._trial, optimizer, scheduler=schedulers, names=names, lr_factor=self._lr_factor)

    def _end(self, trainer: Trainer) -> None:
        self._batches = 0
        if self._step is None:
            if self._restored is not None:  # with max_steps, Lightning ends the epoch of the checkpoint once more
                restore_random_state(self._restored["random"])
            return
        step, self._step = self._step, None
        metrics = self._fresh(trainer)
        self._validated = False
        if metrics:
            self._trial.report(**metrics)
        if self._trial.checkpoint_due:
            with self._trial.checkpoint() as folder:
                self._saving = True
                try:
                    trainer.save_checkpoint(folder / FILE)
                finally:
                    self._saving = False
        if step == self._trial.max_step:
            trainer.should_stop = True

    def _names_of_each(self, trainer: Trainer) -> Sequence[Names]:
        names, count = self._names, len(trainer.optimizers)
        if isinstance(names, list) and not all(isinstance(name, str) for name in names):
            if len(names) != count:
                raise UsageError(f"TrialCallback(names=...): {len(names)} entries for {count} optimizers")
            return names
        return [cast(Names, names)] * count

    # --- what is reported --------------------------------------------------------------------------

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember what was logged without validation."""
        self._known_before = frozenset(trainer.callback_metrics)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember what validation logs: Lightning keeps it until the next one, as if it were new."""
        self._of_validation |= trainer.callback_metrics.keys() - self._known_before
        self._validated = not trainer.sanity_checking

    def _fresh(self, trainer: Trainer) -> dict[str, Any]:
        stale = frozenset() if self._validated else self._of_validation
        return {
            name: value
            for name, value in trainer.callback_metrics.items()
            if name not in stale
            and name not in RESERVED_METRICS
            and (self._metrics is None or name in self._metrics)
        }

    # --- what Lightning does not save --------------------------------------------------------------

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the random generators, and what schedulers that wait for a plateau are to be told right after."""
        if self._saving:
            plateau = {
                number: float(trainer.callback_metrics[config.monitor])
                for number, config in enumerate(trainer.lr_scheduler_configs)
                if config.reduce_on_plateau
                and config.monitor in trainer.callback_metrics
                and self._every_n_batches is None
                and pl_module.automatic_optimization
                and config.interval == "epoch"
                and (trainer.current_epoch + 1) % config.frequency == 0
            }
            checkpoint[OURS] = {"random": random_state(), "plateau": plateau}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep it until the trainer is ready."""
        self._restored = checkpoint.get(OURS)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the random generators: from here on Lightning draws what it draws between two epochs."""
        if self._restored is not None:
            restore_random_state(self._restored["random"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the schedulers what they would have been told at the end of the last epoch."""
        if self._restored is not None:
            for number, value in self._restored["plateau"].items():
                pl_module.lr_scheduler_step(trainer.lr_scheduler_configs[number].scheduler, value)
