"""Writes the lock files from pyproject.toml: `make lock`. They name no index, so any mirror can serve them."""

import subprocess
from pathlib import Path

HERE = Path(__file__).parent
# dev is resolved first and has all packages except the GPU wheels. Its versions constrain the other locks.
LOCKS = {"dev.txt": ("cpu", "demo", "dev"), "cpu.txt": ("cpu", "demo"), "gpu.txt": ("gpu", "demo")}
# tensorflow-serving-api requires `tensorflow`, although `tensorflow-cpu` provides the same module.
OVERRIDE = f"--override={HERE / 'overrides.txt'}"
# TensorBoard's image has its own lock, without the data server, which does not support workload identity.
TENSORBOARD = (HERE / "tensorboard.in", "--no-emit-package=tensorboard-data-server")


def lock(name: str, *sources: Path | str) -> None:
    """Resolves the requirements of the sources for every platform and writes versions with hashes."""
    options = ["--quiet", "--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate"]
    command = ["uv", "pip", "compile", *options, "--custom-compile-command", "make lock", "--output-file", HERE / name]
    subprocess.run([*command, *sources], check=True)


if __name__ == "__main__":
    for name, extras in LOCKS.items():
        constraints = [OVERRIDE] if name == "dev.txt" else [f"--constraints={HERE / 'dev.txt'}"]
        lock(name, HERE.parent / "pyproject.toml", *(f"--extra={extra}" for extra in extras), *constraints)
    lock("tensorboard.txt", *TENSORBOARD)
    lock("sbom.txt", HERE / "sbom.in")  # the tool that writes the images' bills of materials
