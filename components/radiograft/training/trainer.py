"""Trains a network: keeps the best epoch on validation, and resumes after the last epoch of a killed attempt."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from radiograft.models import variables
from radiograft.models.predictor import Predictor
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.datasets import TrainingData
from radiograft.training.distillation import Distillation, distill
from radiograft.training.history import History
from radiograft.training.optimizers import build_optimizer, learning_rate, use_ema_weights
from radiograft.training.tasks.base import OBJECTIVE, divergence_threshold, validation_loss
from radiograft.training.tasks.self_transfer import train_both_heads
from radiograft.training.tensorboard_curves import TensorBoardCurves
from radiograft.training.train_config import TrainConfig

log = logging.getLogger(__name__)


def train(
    model: keras.Model,
    data: TrainingData,
    config: TrainConfig,
    strategy: tf.distribute.Strategy,
    checkpoints: Checkpoints,
) -> History:
    """Trains the model, which must have been built in the scope of its strategy, and leaves it at its best epoch.

    The best epoch is the one with the best monitored metric; of equal ones, the one with the lowest loss. The state
    before training counts as epoch 0, so that the returned model never validates worse than the given one. If
    `checkpoints` hold an epoch of the same training, training resumes after it and gives the same result.

    Raises:
        FloatingPointError: the loss is not finite or exceeds `divergence_threshold`.
        ValueError: no label of the validation split has both classes.
    """
    model, task = train_both_heads(model, config.task)
    config = dataclasses.replace(config, task=task)
    loss = config.task.loss(data.truth, config.recipe)
    model.compile(
        build_optimizer(config.optimizer, config.recipe, model, config.head),
        loss,
        metrics=[*config.task.metrics(), keras.metrics.MeanMetricWrapper(loss.worst, name="worst")],
    )
    model.optimizer.build(model.trainable_variables)  # `compile` wraps it for loss scaling in float16
    loop = TrainingLoop(model, data, config, strategy, checkpoints)
    epochs = range(loop.restore_or_validate(), config.epochs)
    if epochs and not loop.ended:
        with variables.synchronized_statistics(model):
            model.fit(
                data.batches(epochs),
                initial_epoch=epochs.start,
                epochs=epochs.stop,
                steps_per_epoch=data.steps,
                shuffle=False,  # the dataset is already shuffled
                verbose=0,
                callbacks=[loop],
            )
    return loop.restore_best()


class TrainingLoop(keras.callbacks.Callback):  # type: ignore[misc]
    """Sets the learning rate of each step, stops a divergent training, validates and checkpoints each epoch."""

    def __init__(
        self,
        model: keras.Model,
        data: TrainingData,
        config: TrainConfig,
        strategy: tf.distribute.Strategy,
        checkpoints: Checkpoints,
    ) -> None:
        super().__init__()
        self.network, self.data, self.config, self.checkpoints = model, data, config, checkpoints
        self.predictor, self.curves = Predictor(model, strategy), TensorBoardCurves(config.logs)
        self.penalty = sum(float(loss) for loss in model.losses)
        self.epoch, self.rows, self.initial = 0, list[dict[str, float]](), dict[str, float]()
        self.means = dict[str, float]()
        self.members = dict[int, list[np.ndarray]]()  # weights of the best epochs by epoch, the best first

    @property
    def ended(self) -> bool:
        """Whether the metric has not improved for `patience` epochs."""
        return len(self.rows) - self.best_epoch >= self.config.patience

    @property
    def best_epoch(self) -> int:
        """The epoch with the best monitored metric so far; 0 is the state before training."""
        return self._rank_epochs()[0]

    @property
    def history(self) -> History:
        """The epochs so far."""
        return History(self.rows, self.best_epoch, self.initial)

    @property
    def kept_variables(self) -> list[keras.Variable]:
        """What makes up an epoch: trained weights, and the moving statistics of BatchNormalization layers that train.

        Moving statistics are averages themselves; `ema` does not average them once more.
        """
        return [*self.network.trainable_variables, *variables.moving_statistics(self.network)]

    def restore_or_validate(self) -> int:
        """Restores the latest checkpoint, or validates the untrained network; returns the number of finished epochs."""
        if not self._restore():
            self.initial = self._validate()
            self._keep_best()
            log.info("%s: before training, %s", self.config.name, self.config.task.format(self.initial))
        for row in self.rows:
            self.curves.add(row)
        if self.rows and self.config.observer:
            self.config.observer.on_epochs(self.history)
        return len(self.rows)

    def restore_best(self) -> History:
        """Restores the weights and the moving statistics of the best epoch and returns the history.

        With several members, the weights of the two best epochs, of the three best and so on are averaged (Wortsman et
        al. 2022), and the mean that validates best is kept if it is better than the best epoch. If requested, the
        result is then trained on the mean predictions of all members, and kept if that validates better still.
        """
        history = self.history
        for count in range(2, len(self.members) + 1):
            self._write_mean(count)
            metrics = self._validate()
            if self._key(metrics) > self._key(history.best):
                history = dataclasses.replace(history, averaged_epochs=list(self.members)[:count], averaged=metrics)
        self._write_mean(len(history.averaged_epochs) or 1)
        if self.config.distillation_epochs and len(self.members) > 1:
            history = self._distill(history)
        self.curves.close()
        kept = ", ".join(map(str, history.averaged_epochs or history.distilled_epochs)) or self.best_epoch
        log.info("%s: keeping epoch %s, %s", self.config.name, kept, self.config.task.format(history.best))
        if self.config.observer:
            self.config.observer.on_trained(history, self.predictor.predict(self.data.validation))
        return history

    def _distill(self, history: History) -> History:
        """Distills the members into the network; without a gain its weights stay."""
        config, before = self.config, variables.read_variables(self.kept_variables)
        epochs = range(config.epochs, config.epochs + config.distillation_epochs)
        how = Distillation(config.task, config.optimizer, config.learning_rate, config.head, epochs)
        members = list(self.members.values())
        distill(self.network, self.predictor, members, self.kept_variables, self.data, how)
        metrics = self._validate()
        if self._key(metrics) > self._key(history.best):
            return dataclasses.replace(
                history, averaged_epochs=[], averaged=metrics, distilled_epochs=list(self.members)
            )
        variables.write_variables(self.kept_variables, before)
        return history

    def _write_mean(self, count: int) -> None:
        """Assigns the mean weights of the best epochs to the network."""
        best = list(self.members.values())[:count]
        mean = (
            best[0]
            if count == 1
            else [np.mean(weights, axis=0, dtype="float64") for weights in zip(*best, strict=True)]
        )
        variables.write_variables(self.kept_variables, mean)

    def _key(self, metrics: Mapping[str, float]) -> tuple[float, float]:
        return (self.config.monitor or self.config.task.monitor).selection_key(metrics)

    def _rank_epochs(self) -> list[int]:
        """Returns the best epochs by the monitor, at most `members`, the best first; of equal ones, the earlier."""
        rows = [self.initial, *self.rows]
        ranked = sorted(range(len(rows)), key=lambda epoch: self._key(rows[epoch]), reverse=True)
        return ranked[: self.config.members]

    def _keep_best(self) -> None:
        """Keeps the network's weights if the last epoch is among the best, and drops those of epochs that are not."""
        best, last = self._rank_epochs(), len(self.rows)
        if last in best:
            self.members[last] = variables.read_variables(self.kept_variables)
        self.members = {epoch: self.members[epoch] for epoch in best}

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        self.epoch, self.means = epoch, {}

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        losses = [validation_loss(row) for row in [self.initial, *self.rows]]
        step, steps = self.epoch * self.data.steps + batch, self.config.epochs * self.data.steps
        self.rate = learning_rate(self.config.recipe, self.config.learning_rate, step, steps, losses)
        self.network.optimizer.learning_rate = self.rate

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        loss, worst = self._step_losses(batch, logs or {})
        threshold = divergence_threshold(self.config.task, self.initial["val_loss"], worst, self.penalty)
        if not loss <= threshold:
            steps = [step for step in (batch - 1, batch) if step >= 0]
            image_ids = [image_id for step in steps for image_id in self.data.image_ids(self.epoch, step)]
            raise FloatingPointError(
                f"{self.config.name}: the loss must stay finite and below {threshold:.3g}, got {loss:.3g} at step "
                f"{batch + 1} of epoch {self.epoch + 1} with learning rate {self.rate:.3g}; choose a lower one, "
                "clip_norm in train_recipe or train_precision=float32, and look at the images of this step and the "
                "last: " + ", ".join(image_ids)
            )

    def _step_losses(self, batch: int, means: dict[str, float]) -> tuple[float, float]:
        """Recovers the step's loss and largest loss from Keras's running epoch means, which hide a late divergence."""
        before, self.means = self.means, dict(means)
        loss, worst = (means[name] * (batch + 1) - before.get(name, 0.0) * batch for name in ("loss", "worst"))
        return loss, worst

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        fitted = {name: float(value) for name, value in (logs or {}).items() if name != "worst"}
        with use_ema_weights(self.network, self.config.recipe):
            row = {"epoch": epoch + 1, **fitted, "learning_rate": self.rate, **self._validate()}
            self.rows.append(row)
            self._keep_best()
        self.curves.add(row)
        self._save()
        log.debug(
            "%s: epoch %d of %d, loss %.4f, %s%s",
            *(self.config.name, epoch + 1, self.config.epochs, row["loss"]),
            *(self.config.task.format(row), " (best)" if self.best_epoch == epoch + 1 else ""),
        )
        self.network.stop_training = self.ended
        if self.config.observer:
            self.config.observer.on_epochs(self.history)

    def _validate(self) -> dict[str, float]:
        truth, scores = self.data.validation_truth, self.predictor.predict(self.data.validation)
        metrics = self.config.task.evaluate(truth, scores)
        if self.config.recipe.loss_weights == "balanced" or self.config.recipe.label_smoothing:
            # Calling the loss object itself would scale the loss by the number of GPUs.
            metrics[OBJECTIVE] = float(np.mean(self.network.loss.call(truth, scores)))
        return metrics

    def _changing_variables(self) -> list[keras.Variable]:
        """Everything that a step changes: `kept_variables`, the optimizer's state, the random states of dropout."""
        fixed = {id(variable) for variable in self.network.non_trainable_weights}
        random = [variable for variable in self.network.non_trainable_variables if id(variable) not in fixed]
        return [*self.kept_variables, *self.network.optimizer.variables, *random]

    def _save(self) -> None:
        states = {f"state-{n}": values for n, values in enumerate(variables.read_variables(self._changing_variables()))}
        best = {
            f"{self._prefix(epoch)}-{n}": values
            for epoch, weights in self.members.items()
            for n, values in enumerate(weights)
        }
        self.checkpoints.save(len(self.rows), states | best, self.history.to_json(), keep=False)

    def _prefix(self, epoch: int) -> str:
        """Returns the name of an epoch's weights in a checkpoint."""
        return "best" if epoch == self.best_epoch else f"member-{epoch}"

    def _restore(self) -> bool:
        state = self.checkpoints.latest()
        if state is None:
            return False
        history, changing = History(**state.facts), self._changing_variables()
        self.rows, self.initial = history.epochs, history.initial
        variables.write_variables(changing, [state.arrays[f"state-{number}"] for number in range(len(changing))])
        places = range(len(self.kept_variables))
        self.members = {
            epoch: [state.arrays[f"{self._prefix(epoch)}-{n}"] for n in places] for epoch in self._rank_epochs()
        }
        log.info("%s: resuming after epoch %d", self.config.name, state.number)
        return True
