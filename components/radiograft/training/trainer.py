"""Trains a network: the best epoch by validation AUROC is kept, every epoch can be taken up again after a kill."""

from __future__ import annotations

import dataclasses
import logging
import math
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from radiograft.config.recipe import Recipe
from radiograft.models import variables
from radiograft.models.predictor import Predictor
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.datasets import TrainingData
from radiograft.training.losses import EPSILON, MaskedCrossEntropy, class_weights, masked_accuracy, validation_metrics
from radiograft.training.optimizers import build_optimizer, learning_rate, use_ema_weights

log = logging.getLogger(__name__)


MAX_CROSS_ENTROPY = -math.log(EPSILON)  # plain cross-entropy where every label is called wrong for certain
DIVERGENCE_FRACTION = (
    0.8  # of the way to the worst from the loss before training, or of a coin: nothing is learned any more
)
OBJECTIVE = "val_objective"  # the training's own loss of the validation images, where that is not plain val_loss
PENALTY_FACTOR = 20.0  # times the L2 penalty before training

VALIDATION = "val_"


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long and how fast to train: the highest rate per step, `logs` a folder for TensorBoard."""

    name: str
    optimizer: str
    learning_rate: float
    recipe: Recipe
    epochs: int
    patience: int
    logs: Path


@dataclasses.dataclass(frozen=True)
class History:
    """What training did.

    Attributes:
        epochs: one row an epoch with loss, accuracy, learning_rate (of its last step), val_loss, val_auroc,
            val_accuracy.
        best_epoch: the one whose weights were kept; 0 is before the first.
        initial: val_loss, val_auroc and val_accuracy before training.
    """

    epochs: list[dict[str, float]]
    best_epoch: int
    initial: dict[str, float]

    @property
    def best(self) -> dict[str, float]:
        """Validation figures of the weights that were kept."""
        row = self.epochs[self.best_epoch - 1] if self.best_epoch else self.initial
        return {name: value for name, value in row.items() if name.startswith("val_")}


def train(
    model: keras.Model,
    material: TrainingData,
    plan: TrainConfig,
    strategy: tf.distribute.Strategy,
    checkpoints: Checkpoints,
) -> History:
    """Fits the model, which must have been built in the scope of its strategy, and leaves it at its best epoch.

    The best epoch is the one of highest validation AUROC, of lowest loss where these are equal. The state before
    training counts as epoch 0, so that training never returns a model that validates worse than the one it was given.
    Where `checkpoints` hold an epoch of this very training, it goes on from there to the same end.

    Raises:
        FloatingPointError: the loss diverged, as `Course.limit` says, or is no longer a finite number.
        ValueError: no label of the validation split has both classes.
    """
    weights = class_weights(material.truth, plan.recipe.loss_weights == "balanced")
    loss = MaskedCrossEntropy(weights, plan.recipe.label_smoothing)
    metrics = {"accuracy": masked_accuracy, "worst": loss.worst}
    model.compile(
        build_optimizer(plan.optimizer, plan.recipe, model),
        loss,
        metrics=[keras.metrics.MeanMetricWrapper(figure, name=name) for name, figure in metrics.items()],
    )
    model.optimizer.build(model.trainable_variables)  # what scales the loss in float16 is wrapped around it here
    course = TrainingLoop(model, material, plan, strategy, checkpoints)
    epochs = range(course.begin(), plan.epochs)
    if epochs and not course.ended:
        model.fit(
            material.batches(epochs),
            initial_epoch=epochs.start,
            epochs=epochs.stop,
            steps_per_epoch=material.steps,
            shuffle=False,  # the batches come in the order that the seed gave
            verbose=0,
            callbacks=[course],
        )
    return course.finish()


class TrainingLoop(keras.callbacks.Callback):  # type: ignore[misc]
    """The course of one training: sets the rate of each step, judges each epoch, keeps the best and writes it down."""

    def __init__(
        self,
        model: keras.Model,
        material: TrainingData,
        plan: TrainConfig,
        strategy: tf.distribute.Strategy,
        checkpoints: Checkpoints,
    ) -> None:
        super().__init__()
        self.network, self.material, self.plan, self.checkpoints = model, material, plan, checkpoints
        self.predictor, self.curves = Predictor(model, strategy), TensorBoardCurves(plan.logs)
        self.penalty = sum(float(each) for each in model.losses)
        self.epoch, self.rows, self.initial = 0, list[dict[str, float]](), dict[str, float]()
        self.means = dict[str, float]()
        self.best_epoch, self.best_weights = 0, list[np.ndarray]()

    @property
    def ended(self) -> bool:
        """Whether patience has run out."""
        return len(self.rows) - self.best_epoch >= self.plan.patience

    @property
    def history(self) -> History:
        """What has happened so far."""
        return History(self.rows, self.best_epoch, self.initial)

    def limit(self, worst: float) -> float:
        """The loss of a step that tells that training diverged.

        Cross-entropy cannot exceed its worst, however far the weights are, so that what is told without an L2 penalty
        is that nearly all labels are called wrong for certain. With one, weights that grow without bound are told too.

        Args:
            worst: the training's own loss of the same images at its worst. Balanced weights of rare labels, label
                smoothing and unknown labels lower it, of some batches more than of others. The plain validation loss
                before training is therefore taken as a share of the plain worst.
        """
        start = max(self.initial["val_loss"], math.log(2)) / MAX_CROSS_ENTROPY
        return worst * (start + DIVERGENCE_FRACTION * (1 - start)) + PENALTY_FACTOR * self.penalty

    def begin(self) -> int:
        """Takes up where a checkpoint was left, or judges the network as it comes; returns the epochs done."""
        if not self._resume():
            self.initial = self._validate()
            self.best_weights = variables.read_variables(self.network.trainable_variables)
            log.info("%s: before training, %s", self.plan.name, _format_metrics(self.initial))
        for row in self.rows:
            self.curves.add(row)
        return len(self.rows)

    def finish(self) -> History:
        """Puts the best epoch's weights into the network."""
        variables.write_variables(self.network.trainable_variables, self.best_weights)
        self.curves.close()
        log.info("%s: keeping epoch %d, %s", self.plan.name, self.best_epoch, _format_metrics(self.history.best))
        return self.history

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        self.epoch, self.means = epoch, {}

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        losses = [row.get(OBJECTIVE, row["val_loss"]) for row in [self.initial, *self.rows]]
        step, steps = self.epoch * self.material.steps + batch, self.plan.epochs * self.material.steps
        self.rate = learning_rate(self.plan.recipe, self.plan.learning_rate, step, steps, losses)
        self.network.optimizer.learning_rate = self.rate

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        loss, worst = self._of_step(batch, logs or {})
        limit = self.limit(worst)
        if not loss <= limit:
            suspects = [
                each for step in (batch - 1, batch) if step >= 0 for each in self.material.image_ids(self.epoch, step)
            ]
            raise FloatingPointError(
                f"{self.plan.name}: the loss must stay finite and below {limit:.3g}, got {loss:.3g} at step "
                f"{batch + 1} of epoch {self.epoch + 1} with learning rate {self.rate:.3g}; choose a lower one, "
                "clip_norm in train_recipe or train_precision=float32, and look at the images of this step and the "
                "last: " + ", ".join(suspects)
            )

    def _of_step(self, batch: int, means: dict[str, float]) -> tuple[float, float]:
        """A step's loss and its worst: Keras tells the means of the epoch so far, in which a late step would drown."""
        before, self.means = self.means, dict(means)
        loss, worst = (means[name] * (batch + 1) - before.get(name, 0.0) * batch for name in ("loss", "worst"))
        return loss, worst

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        fitted = {name: float(value) for name, value in (logs or {}).items() if name != "worst"}
        with use_ema_weights(self.network, self.plan.recipe):
            row = {"epoch": epoch + 1, **fitted, "learning_rate": self.rate, **self._validate()}
            better = selection_key(row) > selection_key(self.history.best)
            if better:
                self.best_weights = variables.read_variables(self.network.trainable_variables)
        self.rows.append(row)
        self.best_epoch = epoch + 1 if better else self.best_epoch
        self.curves.add(row)
        self._save()
        log.debug(
            "%s: epoch %d of %d, loss %.4f, %s%s",
            *(
                self.plan.name,
                epoch + 1,
                self.plan.epochs,
                row["loss"],
                _format_metrics(row),
                " (best)" if better else "",
            ),
        )
        self.network.stop_training = self.ended

    def _validate(self) -> dict[str, float]:
        truth, scores = self.material.validation_truth, self.predictor.whole(self.material.validation)
        figures = validation_metrics(truth, scores)
        if self.plan.recipe.loss_weights == "balanced" or self.plan.recipe.label_smoothing:
            # Called as a loss it would be scaled by the number of GPUs.
            figures[OBJECTIVE] = float(np.mean(self.network.loss.call(truth, scores)))
        return figures

    def _changing(self) -> list[keras.Variable]:
        """All that a step changes: weights, the state of the optimizer, the random states of dropout layers."""
        fixed = {id(variable) for variable in self.network.non_trainable_weights}
        random = [each for each in self.network.non_trainable_variables if id(each) not in fixed]
        return [*self.network.trainable_variables, *self.network.optimizer.variables, *random]

    def _save(self) -> None:
        states = {f"state-{n}": values for n, values in enumerate(variables.read_variables(self._changing()))}
        best = {f"best-{n}": weights for n, weights in enumerate(self.best_weights)}
        facts = dataclasses.asdict(self.history)
        self.checkpoints.save(len(self.rows), states | best, facts, keep=False)

    def _resume(self) -> bool:
        state = self.checkpoints.latest()
        if state is None:
            return False
        history, changing = History(**state.facts), self._changing()
        self.rows, self.best_epoch, self.initial = history.epochs, history.best_epoch, history.initial
        variables.write_variables(changing, [state.arrays[f"state-{number}"] for number in range(len(changing))])
        self.best_weights = [state.arrays[f"best-{n}"] for n in range(len(self.network.trainable_variables))]
        log.info("%s: going on after epoch %d", self.plan.name, state.number)
        return True


def selection_key(row: dict[str, float]) -> tuple[float, float]:
    return row["val_auroc"], -row["val_loss"]


def _format_metrics(row: dict[str, float]) -> str:
    return f"validation AUROC {row['val_auroc']:.4f}, loss {row['val_loss']:.4f}"


class TensorBoardCurves:
    """Writes rows of a History below a folder as they come."""

    def __init__(self, folder: Path) -> None:
        self.writers = {run: tf.summary.create_file_writer(str(folder / run)) for run in ("train", "validation")}

    def add(self, row: dict[str, float]) -> None:
        """Adds an epoch; steps count from 1, as the log counts epochs: 0 is the state before training."""
        for name, value in row.items():
            if name != "epoch":
                with self.writers["validation" if name.startswith(VALIDATION) else "train"].as_default():
                    tf.summary.scalar(f"epoch_{name.removeprefix(VALIDATION)}", value, step=int(row["epoch"]))

    def close(self) -> None:
        """Writes out what is still in memory."""
        for writer in self.writers.values():
            writer.close()
