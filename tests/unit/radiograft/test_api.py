"""The public API: its names, its documentation, and examples that run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import radiograft

MODULES = [
    module.name
    for package in ("radiograft", "radiograft_pipelines")
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
    if not module.name.endswith(("component", "__main__"))
]


def test_all_names_exist_and_are_documented() -> None:
    assert {"Catalog", "build_backbone", "load_version"} <= set(radiograft.__all__)
    for name in radiograft.__all__:
        if not name.startswith("__"):
            assert getattr(radiograft, name).__doc__, name
    assert radiograft.Catalog.read.__doc__


def test_unknown_name_raises() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        radiograft.nothing  # noqa: B018


def test_import_loads_no_tensorflow() -> None:
    script = "import sys, radiograft; print({'keras', 'tensorflow', 'kfp'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0
