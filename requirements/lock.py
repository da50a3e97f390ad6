"""Writes the lock files from pyproject.toml: `make lock`. No index is recorded, so any mirror serves them."""

import subprocess
from pathlib import Path

HERE = Path(__file__).parent
# dev is solved first and holds all but the GPU wheels; the others follow its versions.
LOCKS = {"dev.txt": ("cpu", "demo", "dev"), "cpu.txt": ("cpu", "demo"), "gpu.txt": ("gpu", "demo")}


def lock(name: str, extras: tuple[str, ...]) -> None:
    """Solves one set of extras for every platform and writes versions with hashes."""
    constraints = [] if name == "dev.txt" else ["--constraints", HERE / "dev.txt"]
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
            *(part for extra in extras for part in ("--extra", extra)),
            *constraints,
            *("--output-file", HERE / name, HERE.parent / "pyproject.toml"),
        ],
        check=True,
    )


if __name__ == "__main__":
    for name, extras in LOCKS.items():
        lock(name, extras)
        print(f"wrote requirements/{name}")
