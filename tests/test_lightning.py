"""The callback for PyTorch Lightning, with the real Trainer, on the CPU."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import caviar
from caviar.errors import TrialStopped, UsageError
from caviar.execution.training import Trial
from caviar.store.inbox import post
from tests.execution.test_training import Ear, job, launch

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lightning
    from lightning.pytorch.callbacks import EarlyStopping

from torch import nn  # noqa: E402
from torch.optim import lr_scheduler as lrs  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from caviar.lightning import TrialCallback  # noqa: E402

torch.set_num_threads(1)  # two would wait for each other where the tests are not alone on the machine

BATCHES = 4


def loaders() -> tuple[DataLoader[Any], DataLoader[Any]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 4, generator=generator)
    y = x.sum(1, keepdim=True)
    train = DataLoader(TensorDataset(x[:32], y[:32]), batch_size=32 // BATCHES, shuffle=True)
    return train, DataLoader(TensorDataset(x[32:], y[32:]), batch_size=8)


class Model(lightning.LightningModule):  # type: ignore[misc,unused-ignore]
    """Draws random numbers wherever a real one would: weights, order of the data, dropout."""

    def __init__(self, params: Mapping[str, Any], *, scheduler: str = "none", fail_in: int | None = None) -> None:
        super().__init__()
        self.params = params
        self.scheduler = scheduler
        self.fail_in = fail_in
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 1))
        self.trace: list[tuple[int, float, float]] = []
        """(epoch, lr, loss) of every batch."""

    def training_step(self, batch: Any, index: int) -> Any:
        loss = ((self.net(batch[0]) - batch[1]) ** 2).mean()
        self.log("train_loss", loss, on_epoch=True, on_step=False)
        self.log("batch_loss", loss, on_epoch=False, on_step=True)
        lr = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.trace.append((self.current_epoch, float(lr), loss.item()))
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", ((self.net(batch[0]) - batch[1]) ** 2).mean())

    def on_train_epoch_end(self) -> None:
        self.log("epoch_number", float(self.current_epoch + 1))
        if self.current_epoch + 1 == self.fail_in:
            raise RuntimeError("as the test wants it")

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.params["lr"], momentum=0.9)
        match self.scheduler:
            case "plateau":
                # lowers the lr at the end of every epoch but the first, those at which these tests save among them
                plateau = lrs.ReduceLROnPlateau(
                    optimizer, factor=0.5, patience=0, threshold=1e9, threshold_mode="abs"
                )
                return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss"}}
            case "batches":
                decay = lrs.LambdaLR(optimizer, lambda n: 0.95**n)
                return {"optimizer": optimizer, "lr_scheduler": {"scheduler": decay, "interval": "step"}}
            case "epochs":
                return [optimizer], [lrs.StepLR(optimizer, 2, gamma=0.5)]
        return optimizer


class Run:
    """A training function, and the models that it has trained."""

    def __init__(self, *, scheduler: str = "none", fail_in: int | None = None, **arguments: Any) -> None:
        self.scheduler = scheduler
        self.fail_in = fail_in
        self.callback = {
            key: arguments.pop(key) for key in ("metrics", "every_n_batches", "names") if key in arguments
        }
        self.trainer = arguments
        self.trials: list[Trial] = []
        self.models: list[Model] = []
        self.trainers: list[lightning.Trainer] = []

    def __call__(self, trial: Trial) -> None:
        self.trials.append(trial)
        torch.manual_seed(trial.seed)
        callback = TrialCallback(trial, **self.callback)
        model = Model(trial.params, scheduler=self.scheduler, fail_in=None if trial.attempt else self.fail_in)
        self.models.append(model)
        arguments = {"max_epochs": trial.max_step, "accelerator": "cpu", "log_every_n_steps": 1, **self.trainer}
        trainer = lightning.Trainer(
            callbacks=[callback, *arguments.pop("callbacks", [])],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **arguments,
        )
        self.trainers.append(trainer)
        trainer.fit(model, *loaders(), ckpt_path=callback.ckpt_path)


SPACE = caviar.Space(lr=caviar.Float(1e-3, 0.05, scale="log"))


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., caviar.Result]:
    """Trains with a training function, in this process, and returns the result."""
    monkeypatch.chdir(tmp_path)
    count = iter(range(100))

    def sweep(train: Callable[[Trial], None], **arguments: Any) -> caviar.Result:
        given: dict[str, Any] = {"metric": "val_loss", "trials": 1, "max_step": 4, **arguments}
        result = caviar.Sweep(train, SPACE, **given).run(
            tmp_path / f"sweep-{next(count)}", executor=caviar.Inline()
        )
        assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("sweep-")] == []
        return result

    return sweep


Sweep = Callable[..., caviar.Result]


# --- reports ----------------------------------------------------------------------------------------


def test_epochs_are_steps_with_all_that_was_logged(sweep: Sweep) -> None:
    run = Run()
    result = sweep(run, trials=2)
    curves = result.curves()
    assert result.counts() == {"completed": 2}
    assert curves["step"].tolist() == [1, 2, 3, 4] * 2
    assert curves["epoch_number"].tolist() == [1, 2, 3, 4] * 2  # logged in the module's own on_train_epoch_end
    assert curves[["val_loss", "train_loss", "batch_loss"]].notna().all(axis=None)
    for trial, model in enumerate(run.models):
        last = [loss for epoch, _, loss in model.trace if epoch == 3]
        own = curves[curves["trial"] == trial]
        assert own["train_loss"].iloc[-1] == pytest.approx(sum(last) / BATCHES)


def test_only_chosen_metrics(sweep: Sweep) -> None:
    curves = sweep(Run(metrics=["val_loss"])).curves()
    assert set(curves.columns) == {"trial", "step", "time", "val_loss"}


def test_validation_metrics_only_where_there_was_a_validation(sweep: Sweep) -> None:
    result = sweep(Run(check_val_every_n_epoch=2))
    assert result.curves()["val_loss"].isna().tolist() == [True, False, True, False]
    assert result.curves()["train_loss"].notna().all()


def test_steps_of_batches(sweep: Sweep) -> None:
    run = Run(every_n_batches=3, scheduler="batches", max_epochs=100)
    result = sweep(run, metric="batch_loss", max_step=7)
    assert result.counts() == {"completed": 1}
    assert result.curves()["step"].tolist() == list(range(1, 8))
    losses = [loss for _, _, loss in run.models[0].trace]
    assert len(losses) == 7 * 3
    assert result.curves()["batch_loss"].tolist() == pytest.approx(losses[2::3])
    # batches 1-4, 5-8, ... are epochs: there is a validation after batch 4, within step 2
    assert result.curves()["val_loss"].notna().tolist() == [False, True, True, False, True, True, True]


# --- ends -------------------------------------------------------------------------------------------


def test_the_trainer_ends_at_max_step_whatever_it_was_told(sweep: Sweep) -> None:
    for limit in ({"max_epochs": -1}, {"max_epochs": 100}, {"max_epochs": -1, "max_steps": 1000}):
        run = Run(**limit)
        result = sweep(run)
        assert result.counts() == {"completed": 1}
        assert result.curves()["step"].tolist() == [1, 2, 3, 4]
        assert len(run.models[0].trace) == 4 * BATCHES
        assert run.trainers[0].state.status == "finished"


def test_a_trainer_that_ends_early_completes_the_trial(sweep: Sweep) -> None:
    stop = EarlyStopping("epoch_number", patience=1, mode="min")
    result = sweep(Run(callbacks=[stop]), max_step=9)
    assert result.counts() == {"completed": 1}
    assert result.curves()["step"].tolist() == [1, 2]


def test_a_scheduler_stops_trials_through_the_trainer(sweep: Sweep) -> None:
    run = Run()
    result = sweep(run, trials=4, scheduler=caviar.Asha(grace_steps=1, reduction_factor=2))
    trials = result.trials()
    assert set(trials["status"]) == {"completed", "stopped"}
    assert trials.loc[trials["status"] == "stopped", "reason"].str.startswith("asha: rung").all()
    for steps, model in zip(trials["steps"], run.models, strict=True):
        assert len(model.trace) == steps * BATCHES
    assert {trainer.state.status for trainer in run.trainers} == {"finished", "interrupted"}


def test_a_stop_by_hand_passes_through_the_trainer_and_is_no_failure() -> None:
    ear = Ear()
    trial = Trial(launch(), job=job(max_step=9), link=ear, shared=None)
    run = Run(callbacks=[At(2, lambda: trial.stop("by hand"))])
    with pytest.raises(TrialStopped, match="by hand") as stopped:
        run(trial)
    assert trial.ended(stopped.value)[5:7] == ("stopped", "by hand")
    assert ear.steps == [1]  # epoch 2 was trained, and is not reported
    assert run.trainers[0].state.status == "interrupted"


def test_divergence_ends_the_trial(sweep: Sweep) -> None:
    run = Run()
    result = sweep(run, first=[{"lr": 0.05}], metric="bad")
    assert result.counts() == {"failed": 1}
    assert "no report of bad; it reported batch_loss, epoch_number" in result.trials()["reason"].item()

    def train(trial: Trial) -> None:
        Run(callbacks=[Poison()])(trial)

    assert sweep(train).trials()["reason"].item() == "diverged"


def test_an_error_in_a_module_fails_the_trial_with_its_own_words(sweep: Sweep) -> None:
    result = sweep(Run(fail_in=2), retries=0)
    assert result.trials()["reason"].item() == "RuntimeError: as the test wants it"
    assert result.curves()["step"].tolist() == [1]


class At(lightning.Callback):  # type: ignore[misc,unused-ignore]
    """Does something in the midst of an epoch, counted from 1."""

    def __init__(self, epoch: int, action: Callable[[], object]) -> None:
        self.epoch = epoch
        self.action = action

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking and trainer.current_epoch + 1 == self.epoch:
            self.action()


class Poison(lightning.Callback):  # type: ignore[misc,unused-ignore]
    """Makes the weights NaN after the second epoch."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 2:
            pl_module.net[0].weight.data.fill_(float("nan"))


# --- checkpoints ------------------------------------------------------------------------------------


def same(a: Model, b: Model) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    ("scheduler", "limit"),
    [
        ("none", {}),
        ("epochs", {}),
        ("batches", {}),
        ("plateau", {}),
        ("plateau", {"max_epochs": -1, "max_steps": 6 * BATCHES}),
    ],
    ids=["none", "epochs", "batches", "plateau", "max_steps"],
)
def test_a_trial_that_goes_on_is_bit_for_bit_the_one_that_never_stopped(
    scheduler: str, limit: dict[str, int], tmp_path: Path
) -> None:
    def sweep(run: Run, max_step: int) -> caviar.Sweep:
        return caviar.Sweep(run, SPACE, metric="val_loss", trials=1, max_step=max_step, checkpoint_every=2)

    whole, parted = Run(scheduler=scheduler, **limit), Run(scheduler=scheduler, **limit)
    first = sweep(whole, 6).run(tmp_path / "whole", executor=caviar.Inline())
    short = sweep(parted, 4)
    short.run(tmp_path / "parted", executor=caviar.Inline())
    second = short.extend(tmp_path / "parted", max_step=6, executor=caviar.Inline())
    assert [len(model.trace) for model in parted.models] == [4 * BATCHES, 2 * BATCHES]
    assert [one for model in parted.models for one in model.trace] == whole.models[0].trace
    assert same(whole.models[0], parted.models[1])
    assert second.curves()["step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert first.curves().drop(columns="time").equals(second.curves().drop(columns="time"))


def test_a_trial_that_failed_goes_on_from_its_checkpoint(sweep: Sweep) -> None:
    run, whole = Run(scheduler="plateau", fail_in=4), Run(scheduler="plateau")
    result = sweep(run, checkpoint_every=2)
    sweep(whole)
    assert result.trials()["attempts"].item() == 2
    assert result.curves()["step"].tolist() == [1, 2, 3, 4]
    assert run.models[1].trace == whole.models[0].trace[2 * BATCHES :]


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_steps_of_batches_go_on_with_the_next_step(sweep: Sweep) -> None:
    run = Run(every_n_batches=3, scheduler="batches", fail_in=2, max_epochs=100)
    result = sweep(run, metric="batch_loss", max_step=6, checkpoint_every=1)
    assert result.counts() == {"completed": 1}
    assert result.curves()["step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert result.trials()["attempts"].item() == 2
    lrs_seen = [lr for _, lr, _ in run.models[1].trace]
    lr = result.trials()["params.lr"].item()
    assert lrs_seen == pytest.approx([lr * 0.95**n for n in range(6, 18)])


# --- live params ------------------------------------------------------------------------------------


def live(run: Run, folder: Path, schedule: Mapping[int, Mapping[str, float]], **arguments: Any) -> caviar.LiveRun:
    """A live run from lr 0.01 on, to its end."""
    sweep = caviar.Sweep(run, SPACE, metric="val_loss", trials=1, max_step=6)
    return sweep.panda(
        folder, caviar.Inline(), params={"lr": 0.01}, schedule=schedule, background=False, **arguments
    )


@pytest.mark.parametrize("scheduler", ["none", "epochs", "batches", "plateau"])
def test_live_params_come_into_the_optimizer_at_step_boundaries(scheduler: str, tmp_path: Path) -> None:
    run = Run(scheduler=scheduler)
    live(run, tmp_path / "plain", {})
    live(run, tmp_path / "steered", {3: {"lr": 0.002}, 5: {"lr": 0.03}})
    plain, steered = ([(epoch, lr) for epoch, lr, _ in model.trace] for model in run.models)
    assert plain[0][1] == 0.01
    for (epoch, before), (_, after) in zip(plain, steered, strict=True):
        factor = 1 if epoch < 2 else 0.2 if epoch < 4 else 3
        assert after == pytest.approx(before * factor)
    assert [epoch for epoch, _ in steered] == sorted([*range(6)] * BATCHES)


def test_live_params_in_steps_of_batches(tmp_path: Path) -> None:
    run = Run(every_n_batches=2, names=("lr",))
    live(run, tmp_path / "live", {2: {"lr": 0.05}, 4: {"lr": 0.01}})
    assert [lr for _, lr, _ in run.models[0].trace] == [0.01] * 2 + [0.05] * 4 + [0.01] * 6


def test_a_rollback_with_another_lr(tmp_path: Path) -> None:
    folder, executor = tmp_path / "live", caviar.Inline()

    def back() -> None:
        if run.trials[-1].attempt == 0:
            post(folder, "rollback", trial=0, args={"to_step": 3, "changes": {"lr": 0.02}})
            deadline_s = time.monotonic() + 60
            while not run.trials[-1].news:
                executor.fetch()  # this is the thread on which the driver reads its inbox
                assert time.monotonic() < deadline_s

    run = Run(scheduler="plateau", callbacks=[At(5, back)])
    sweep = caviar.Sweep(run, SPACE, metric="val_loss", trials=1, max_step=6, checkpoint_every=3)
    result = sweep.panda(
        folder, executor, params={"lr": 0.01}, schedule={2: {"lr": 0.04}}, background=False
    ).result()
    # halved at the end of every epoch but the first, also at that of epoch 3, which is in the checkpoint
    seen = [[lr for _, lr, _ in model.trace][::BATCHES] for model in run.models]
    assert seen[0] == pytest.approx([0.01, 0.04, 0.02, 0.01, 0.005])
    assert seen[1] == pytest.approx([0.005, 0.0025, 0.00125])
    assert result.counts() == {"completed": 1}
    assert result.curves()["step"].tolist() == [1, 2, 3, 4, 5, 6]


# --- mistakes ---------------------------------------------------------------------------------------


def test_an_optimizer_that_knows_nothing_of_the_params_is_told(sweep: Sweep) -> None:
    def train(trial: Trial) -> None:
        callback = TrialCallback(trial)
        trainer = lightning.Trainer(
            max_epochs=1, callbacks=[callback], logger=False, enable_progress_bar=False, enable_model_summary=False
        )
        trainer.fit(Model({"lr": 0.123}), *loaders())

    reason = sweep(train, retries=0).trials()["reason"].item()
    assert reason.startswith("UsageError: caviar.torch.apply: no group of SGD has the param 'lr' as its lr")


def test_one_optimizer_and_two_entries_for_it(sweep: Sweep) -> None:
    result = sweep(Run(names=[("lr",), ("lr",)]), retries=0)
    assert result.trials()["reason"].item() == "UsageError: TrialCallback(names=...): 2 entries for 1 optimizers"
    assert sweep(Run(names=[("lr",)])).counts() == {"completed": 1}
    assert sweep(Run(names=())).counts() == {"completed": 1}


def test_more_than_one_process_is_refused() -> None:
    class Two:
        world_size = 2

    trial = Trial(launch(), job=job(), link=Ear(), shared=None)
    with pytest.raises(UsageError, match="the Trainer has 2 processes, and a trial is one"):
        TrialCallback(trial).setup(Two(), None, "fit")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"metrics": "loss"}, r"metrics='loss'\): needs several names, as \['loss'\]"),
        ({"every_n_batches": 0}, r"every_n_batches=0\): needs at least 1"),
    ],
)
def test_mistakes_are_told_when_it_is_made(arguments: dict[str, Any], told: str) -> None:
    trial = Trial(launch(), job=job(), link=Ear(), shared=None)
    with pytest.raises(UsageError, match=told):
        TrialCallback(trial, **arguments)


# --- on Ray -----------------------------------------------------------------------------------------


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.timeout(240)
def test_trials_on_ray_train_the_same_and_are_stopped(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        Run(scheduler="plateau")(trial)

    sweep = caviar.Sweep(
        train,
        SPACE,
        metric="val_loss",
        trials=6,
        max_step=4,
        checkpoint_every=2,
        scheduler=caviar.Asha(grace_steps=2, reduction_factor=4),
    )
    here = sweep.run(tmp_path / "here", executor=caviar.Inline())
    there = sweep.run(tmp_path / "there", executor=caviar.Ray(workers=2))
    assert set(there.trials()["status"]) == {"completed", "stopped"}
    mine, theirs = (result.curves().set_index(["trial", "step"])["val_loss"] for result in (here, there))
    for step in (1, 2):
        assert mine.xs(step, level="step").tolist() == theirs.xs(step, level="step").tolist()
