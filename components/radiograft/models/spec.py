"""The specification of a trained network: its inputs, its outputs and the names of its tensors.

It is stored as contract.json beside the network, in the artifacts of a run and in every version of a registry.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from radiograft.backbones.spec import Normalization
from radiograft.config.base import AUTO
from radiograft.config.data import MULTICLASS, MULTILABEL, REGRESSION, TASKS
from radiograft.config.network import AVERAGE, POOLINGS
from radiograft.config.preprocessing import STRETCH, Preprocess
from radiograft.config.training import ATTENTION_GUIDED, GLOBAL
from radiograft.imaging.geometry import GRAY, RGB, Enlargement, GrayRange, ImageInput, as_range
from radiograft.models.covariates import PATIENT_INPUT, Covariate, covariates_from_json, input_shape
from radiograft.utils import json_io

FILE = "contract.json"
# Left out of the contract if they have their default.
OPTIONAL = ("branches", "covariates", "enlarged_by", "lateral", "ood_threshold", "pooling", "reduced_jpeg", "scales")
SCHEMA_VERSION = 2  # version 1 described inputs and outputs in sentences and named no tensors
SERVING_SIGNATURE = "serving_default"
IMAGES_SIGNATURE = "pictures"  # also the name of its input; stored in registries
SAMPLES_SIGNATURE = "samples"  # image and all further inputs; only networks with further inputs have it
OOD_FILE = "out_of_distribution.npz"  # beside contract.json, if the outputs have a flag
PROBABILITIES, VALUES = "probabilities", "values"  # outputs
OOD_DISTANCE, OOD_FLAG = "ood_distance", "is_out_of_distribution"
LATERAL_INPUT = "lateral"  # of the network
PURPOSE = "Research only. Not for diagnosis."


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """Dtype, shape and meaning of an input or output; the first dimension is the batch, None is any size."""

    dtype: str
    shape: tuple[int | None, ...]
    meaning: str


@dataclasses.dataclass(frozen=True)
class TensorNames:
    """Layers of the Keras network whose outputs other parts of the program use.

    Attributes:
        image: the input.
        normalized: the input of the backbone; all layers up to it compute in float32.
        pooling: the pooled features that the classifier reads. Its input is the activation that Grad-CAM weights; if
            the pooled outputs of several layers are joined, Grad-CAM weights that of the deepest. If the head pools a
            class map, this is the first layer of the head, see `radiograft.models.feature_layers.pooled_features`.
        probabilities: the last layer with weights, whose activation converts logits to probabilities. If the targets
            are numbers, it predicts standardized ones, which a layer without weights converts to the data's unit.
        class_map: the logits of the labels at each position; empty if the head has none.
    """

    image: str = "picture"
    normalized: str = "normalised"
    pooling: str = "pooled"
    probabilities: str = "probabilities"
    class_map: str = ""


class TargetScale(NamedTuple):
    """Mean and standard deviation of a target in training, by which the network standardizes it."""

    mean: float
    deviation: float


DEFAULT_NAMES = TensorNames()  # of all networks that this package builds


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """Specification of a network from images to probabilities.

    Attributes:
        image_size: side of the square input, in pixels.
        labels: names of the outputs, in their order.
        backbone: name of the backbone, see `radiograft.backbones`.
        weights: weights that training started from, as in `model_weights`.
        cut_off: first trained layer of the backbone; empty if the backbone was frozen.
        strategy: `feature_extraction` or `fine_tuning`.
        head: names of the layers after the pooled features, which every strategy trains.
        tensors: names of the tensors that other parts of the program use.
        image_resize: treatment of the aspect ratio, `stretch` or `pad`, see `ImageInput`.
        gray_range: values of 16-bit images that are black and white, see `ImageInput`.
        normalization: what the network does to its input before the backbone; None in contracts of older versions.
        thresholds: decision threshold by label; only published models have them, and those of exclusive classes have
            none.
        channels: channels of the images: 1 for gray, 3 for RGB.
        task: `multilabel`, `binary`, `multiclass` or `regression`, see `Ingest.data_task`.
        covariates: patient data that the network reads beside the image.
        ood_threshold: distance above which an image is flagged as out of distribution; None if the served answer has no
            flag, see `radiograft.models.out_of_distribution`.
        scales: mean and standard deviation of each target in training; empty unless the task is `regression`.
        lateral: whether the network also reads a lateral image.
        pooling: how the head pools positions, see `ExtractFeatures.model_pooling`.
        reduced_jpeg: whether large JPEGs are decoded at reduced size, see `ImageInput`.
        enlarged_by: the network that enlarges images in preprocess and in serving, see `ImageInput`.
        branches: `global` or `attention_guided`, see `FineTune.model_branches`; the network contains all branches.
    """

    image_size: int
    labels: tuple[str, ...]
    backbone: str
    weights: str
    cut_off: str
    strategy: str
    head: tuple[str, ...] = ("classifier_dense", "classifier_dropout", "probabilities")
    tensors: TensorNames = DEFAULT_NAMES
    thresholds: Mapping[str, float] | None = None
    image_resize: str = STRETCH
    gray_range: GrayRange | None = None
    normalization: Normalization | None = None
    task: str = MULTILABEL
    channels: int = GRAY
    covariates: tuple[Covariate, ...] = ()
    ood_threshold: float | None = None
    scales: tuple[TargetScale, ...] = ()
    lateral: bool = False
    pooling: str = AVERAGE
    branches: str = GLOBAL
    reduced_jpeg: bool = False
    enlarged_by: Enlargement | None = None

    @property
    def is_numeric(self) -> bool:
        """Whether the outputs are numbers in the unit of the data instead of probabilities."""
        return self.task == REGRESSION

    @property
    def is_exclusive(self) -> bool:
        """Whether the labels are classes of which every image has exactly one, so that probabilities sum to 1."""
        return self.task == MULTICLASS

    @property
    def image_input(self) -> ImageInput:
        """Size of the input, and how images are converted to it."""
        return ImageInput(
            self.image_size,
            self.image_resize,
            self.gray_range,
            self.channels,
            self.reduced_jpeg,
            self.enlarged_by,
        )

    @property
    def inputs(self) -> dict[str, TensorInfo]:
        """Inputs of the Keras network by name, the image first. Zeros in a further input stand for missing values."""
        meaning = f"{self._meaning}; the network normalizes it"
        return {self.tensors.image: TensorInfo("uint8", self._shape, meaning), **self._further_inputs}

    @property
    def _further_inputs(self) -> dict[str, TensorInfo]:
        inputs = dict[str, TensorInfo]()
        if self.lateral:
            meaning = "lateral image, as the frontal one; zeros if missing"
            inputs[LATERAL_INPUT] = TensorInfo("uint8", self._shape, meaning)
        if self.covariates:
            names = ", ".join(covariate.name for covariate in self.covariates)
            meaning = f"encoded {names}; zeros if missing"
            inputs[PATIENT_INPUT] = TensorInfo("float32", (None, *input_shape(self.covariates)), meaning)
        return inputs

    @property
    def _shape(self) -> tuple[int | None, ...]:
        return (None, self.image_size, self.image_size, self.channels)

    @property
    def _meaning(self) -> str:
        colors = "gray, 0 black to 255 white" if self.channels == GRAY else "red, green and blue, 0 dark to 255 bright"
        return f"{colors}, enlarged by the network {self.enlarged_by.uri}" if self.enlarged_by else colors

    @property
    def predicted(self) -> str:
        """Name of the output that the Keras network returns: `probabilities`, or `values` of a regression."""
        return VALUES if self.is_numeric else PROBABILITIES

    @property
    def outputs(self) -> dict[str, TensorInfo]:
        """Outputs of all signatures by name; the Keras network has the first alone."""
        meaning = "probability of each label; labels are independent"
        if self.is_exclusive:
            meaning = "probability of each class; they sum to 1"
        if self.is_numeric:
            meaning = "predicted value of each target, in the unit of the training data"
        predicted = {self.predicted: TensorInfo("float32", (None, len(self.labels)), meaning)}
        if self.ood_threshold is None:
            return predicted
        distance = f"distance from the training images; above {self.ood_threshold:.6g} the image is flagged"
        return {
            **predicted,
            OOD_DISTANCE: TensorInfo("float32", (None,), distance),
            OOD_FLAG: TensorInfo("bool", (None,), "whether the image is unlike the training images"),
        }

    @property
    def signatures(self) -> dict[str, dict[str, TensorInfo]]:
        """Inputs of the SavedModel's signatures by name. The first two take the image alone; all else is missing."""
        image = {"image_bytes": TensorInfo("string", (None,), "encoded PNG or JPEG files")}
        signatures = {
            SERVING_SIGNATURE: image,
            IMAGES_SIGNATURE: {"pictures": TensorInfo("float32", self._shape, self._meaning)},
        }
        return signatures | (
            {SAMPLES_SIGNATURE: image | self._lateral_inputs | self._covariate_inputs} if self._further_inputs else {}
        )

    @property
    def _lateral_inputs(self) -> dict[str, TensorInfo]:
        meaning = "encoded PNG or JPEG files; empty if missing"
        return {"lateral_bytes": TensorInfo("string", (None,), meaning)} if self.lateral else {}

    @property
    def _covariate_inputs(self) -> dict[str, TensorInfo]:
        """Raw values of patient data, by name in the signature `samples`."""
        return {
            each.served_name: TensorInfo("float32", (None,), f"{each.name}; NaN if missing")
            if each.is_numeric
            else TensorInfo("string", (None,), f"{each.name}: {', '.join(each.categories)}; empty if missing")
            for each in self.covariates
        }

    def write(self, folder: Path) -> None:
        """Writes contract.json to `folder`."""
        special = {name for name in OPTIONAL if getattr(self, name) != getattr(type(self), name)}
        fields = dataclasses.asdict(self) | {"scales": [scale._asdict() for scale in self.scales]}
        if self.enlarged_by:
            fields["enlarged_by"] = self.enlarged_by._asdict()
        if not self.tensors.class_map:
            del fields["tensors"]["class_map"]
        values = {
            "schema_version": SCHEMA_VERSION,
            **{name: value for name, value in fields.items() if name in special or name not in OPTIONAL},
            "inputs": _to_json(self.inputs),
            "outputs": _to_json(self.outputs),
            "signatures": {name: _to_json(inputs) for name, inputs in self.signatures.items()},
            "purpose": PURPOSE,
        }
        (folder / FILE).write_text(json.dumps(values, indent=2))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads contract.json from `folder`, also of schema version 1.

        Raises:
            FileNotFoundError: the file is missing.
            ValueError: the file is malformed, or of a newer schema.
        """
        path = folder / FILE
        values = json_io.parse_json_object(path.read_bytes(), str(path))
        try:
            return cls._from_json(values)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} must be the specification of a model: {error}") from error

    @classmethod
    def _from_json(cls, values: Mapping[str, Any]) -> Self:
        version = values.get("schema_version", 1)
        if version not in (1, SCHEMA_VERSION):
            raise ValueError(f"schema_version must be 1 or {SCHEMA_VERSION}, got {version!r}")
        names = ("image_size", "backbone", "weights", "cut_off", "strategy")
        known: dict[str, Any] = {name: values[name] for name in names}
        known |= {"labels": tuple(values["labels"]), "thresholds": values.get("thresholds")}
        known |= {"task": values.get("task", MULTILABEL)}
        known["scales"] = tuple(TargetScale(**scale) for scale in values.get("scales", ()))
        known |= {"image_resize": values.get("image_resize", STRETCH), "gray_range": as_range(values.get("gray_range"))}
        known["channels"] = values.get("channels", GRAY)  # older contracts are of gray images
        known["reduced_jpeg"] = bool(values.get("reduced_jpeg", False))
        if enlarged_by := values.get("enlarged_by"):
            known["enlarged_by"] = Enlargement(**enlarged_by)
        known["lateral"] = bool(values.get("lateral", False))
        known["covariates"] = covariates_from_json(values.get("covariates", ()))
        threshold = values.get("ood_threshold")
        known["ood_threshold"] = None if threshold is None else float(threshold)
        known["pooling"] = values.get("pooling", AVERAGE)
        known["branches"] = values.get("branches", GLOBAL)
        if stored := values.get("normalization"):
            known["normalization"] = Normalization(*(tuple(stored[name]) for name in ("mean", "std", "channels")))
        if version == SCHEMA_VERSION:  # networks of version 1 have the default names
            known |= {"head": tuple(values["head"]), "tensors": TensorNames(**values["tensors"])}
        spec = cls(**known)
        spec._check()
        return spec

    def _check(self) -> None:
        gray = ":".join(map(str, self.gray_range)) if self.gray_range else AUTO
        Preprocess(image_size=self.image_size, image_resize=self.image_resize, image_gray_range=gray)  # checks ranges
        if self.channels not in (GRAY, RGB):
            raise ValueError(f"channels must be {GRAY} or {RGB}, got {self.channels!r}")
        if not self.labels or not all(isinstance(label, str) for label in self.labels):
            raise ValueError(f"labels must be names, got {self.labels}")
        if self.task not in TASKS:
            raise ValueError(f"task must be one of {', '.join(TASKS)}, got {self.task!r}")
        if self.is_numeric and len(self.scales) != len(self.labels):
            raise ValueError(f"scales must give mean and deviation of {len(self.labels)} targets, got {self.scales}")
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, got {self.pooling!r}")
        if self.branches not in (GLOBAL, ATTENTION_GUIDED):
            raise ValueError(f"branches must be {GLOBAL} or {ATTENTION_GUIDED}, got {self.branches!r}")
        if not isinstance(self.thresholds, Mapping | None):
            raise ValueError(f"thresholds must be numbers by label, got {self.thresholds}")


def _to_json(tensors: Mapping[str, TensorInfo]) -> dict[str, dict[str, Any]]:
    return {name: dataclasses.asdict(info) for name, info in tensors.items()}
