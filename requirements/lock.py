"""Writes the lock files from pyproject.toml: `make lock`. No index is recorded, so any mirror serves them."""

import subprocess
from pathlib import Path

HERE = Path(__file__).parent
# dev is solved first and holds all but the GPU wheels; the others follow its versions.
LOCKS = {"dev.txt": ("cpu", "demo", "dev"), "cpu.txt": ("cpu", "demo"), "gpu.txt": ("gpu", "demo")}
# tensorflow-serving-api asks for `tensorflow` by name, where `tensorflow-cpu` is the same module: hence --no-deps.
OVERRIDE = f"--override={HERE / 'overrides.txt'}"
# TensorBoard's image shares nothing with the others, and leaves out the data server, which knows no workload identity.
TENSORBOARD = (HERE / "tensorboard.in", "--no-emit-package=tensorboard-data-server")


def lock(name: str, *sources: Path | str) -> None:
    """Solves what the sources ask for, for every platform, and writes versions with hashes."""
    subprocess.run(
        [
            *(
                "uv",
                "pip",
                "compile",
                "--quiet",
                "--universal",
                "--python-version",
                "3.11",
                "--generate-hashes",
            ),
            *("--no-annotate", "--custom-compile-command", "make lock"),
            *("--output-file", HERE / name, *sources),
        ],
        check=True,
    )


if __name__ == "__main__":
    for name, extras in LOCKS.items():
        constraints = [OVERRIDE] if name == "dev.txt" else [f"--constraints={HERE / 'dev.txt'}"]
        lock(name, HERE.parent / "pyproject.toml", *(f"--extra={extra}" for extra in extras), *constraints)
    lock("tensorboard.txt", *TENSORBOARD)
    lock("sbom.txt", HERE / "sbom.in")  # the tool that writes the images' bills of materials, and is in none of them
