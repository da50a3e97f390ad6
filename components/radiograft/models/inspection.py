"""Says what a weight file is, which backbones it fits, and how its input must be scaled."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from radiograft.backbones import BackboneSpec, get_backbone, list_backbones
from radiograft.backbones.weight_fit import current_names
from radiograft.config.network import AUTO_NORMALIZATION
from radiograft.models.pretrained import SOURCES, FittedNetwork, choose_normalization, fit_backbone
from radiograft.storage.weight_files import TORCH, WeightFile, read_weight_file

_NUMBER = re.compile(r"_\d+(?=/)")
MAX_MISFITS = 3  # backbones that are listed if none fits
FAMILIES = {
    "keras": "Keras (layers of keras.applications)",
    "torchvision": "torchvision (also timm and CheXNet)",
    "torchxrayvision": "torchxrayvision (one gray channel)",
    "efficientnet-pytorch": "efficientnet-lite-pytorch",
    "caffe": "Caffe, converted to NumPy",
    "tflite": "TFLite, with normalizations folded in",
}


class BackboneMatch(NamedTuple):
    """How a file fits one backbone: the numbers of tensors that do not fit, and examples of them."""

    backbone: str
    missing: int
    surplus: int
    misshapen: int
    problems: str

    @property
    def fits(self) -> bool:
        """Whether the backbone can be built with the file."""
        return not (self.missing or self.surplus or self.misshapen)


class Inspection(NamedTuple):
    """What a weight file is.

    Attributes:
        format: of the file.
        family: whose names the tensors have.
        tensors: number of tensors.
        parameters: number of values in them.
        matches: the backbones that fit, or the closest ones.
        scaling: how the input must be scaled, or why that is unknown.
    """

    format: str
    family: str
    tensors: int
    parameters: int
    matches: list[BackboneMatch]
    scaling: str


def inspect_weights(path: Path, name: str = "") -> Inspection:
    """Reads a weight file and fits it to the backbones. The networks are built, but not computed.

    Args:
        path: of the file.
        name: its original name, if the path is of a copy.

    Raises:
        ValueError: the format is not supported, or the file is corrupt.
    """
    file = read_weight_file(path)
    fitted = {spec.name: fit_backbone(spec, file) for spec in _candidates(file)}
    matches = sorted((_match(backbone, each) for backbone, each in fitted.items()), key=_problems)
    fitting = [match for match in matches if match.fits]
    best = fitted[matches[0].backbone]
    return Inspection(
        file.format,
        FAMILIES[best.family] if fitting else "unknown",
        len(file.tensors),
        file.parameters,
        fitting or matches[:MAX_MISFITS],
        _scaling(best, file, name or path.name) if fitting else "unknown, because no backbone fits",
    )


def _match(backbone: str, fitted: FittedNetwork) -> BackboneMatch:
    fit = fitted.fit
    return BackboneMatch(
        backbone,
        len(fit.missing),
        len(fit.surplus),
        len(fit.misshapen),
        fit.describe_problems() if fit.problems else "",
    )


def _problems(match: BackboneMatch) -> int:
    return match.missing + match.surplus + match.misshapen


def _candidates(file: WeightFile) -> list[BackboneSpec]:
    """Returns the backbones of which at least half of the known layers are in the file, or the closest."""
    specs = [get_backbone(name) for name in list_backbones()]
    if file.order in SOURCES:
        specs = [spec for spec in specs if any(layout.order == file.order for layout in spec.layouts)]
    shares = {spec.name: _share(spec, file) for spec in specs}
    specs.sort(key=lambda spec: -shares[spec.name])
    return [spec for spec in specs if shares[spec.name] >= 0.5] or specs[:MAX_MISFITS]


def _share(spec: BackboneSpec, file: WeightFile) -> float:
    """Returns the share of a backbone's known layers that a file has."""
    if file.order == TORCH:
        needed = [f"{prefix}.weight" for layout in spec.layouts if layout.order == TORCH for _, prefix in layout.names]
        names = set(current_names(file.tensors, needed))
    else:
        layers = [prefix for layout in spec.layouts if layout.order == file.order for _, prefix in layout.names]
        needed = [f"{name}/0" for name in (layers if not file.layers and layers else spec.cut_offs)]
        names = set(file.tensors)
    # Keras numbers some layers by a counter of the process.
    unnumbered = {_NUMBER.sub("", name) for name in names}
    exact = len(names.intersection(needed))
    return max(exact, sum(name in unnumbered for name in needed)) / max(len(needed), 1)


def _scaling(fitted: FittedNetwork, file: WeightFile, name: str) -> str:
    try:
        return choose_normalization(fitted, file, name, AUTO_NORMALIZATION).describe()
    except ValueError as error:
        return str(error)
