"""The import rules in pyproject.toml hold, and import-linter reports each kind of violation."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository import ROOT

LINT_IMPORTS = Path(sys.executable).parent / "lint-imports"
LAYERS = "Each layer of radiograft imports from lower layers only"
STAGES = "Stages do not import each other"
KFP = "Only components import kfp"
PACKAGES = "radiograft does not import radiograft_pipelines"


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder with a copy of both packages, which a test may change, and the repository's rules."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "components" / "radiograft", tmp_path / "radiograft", ignore=ignored)
    shutil.copytree(ROOT / "pipelines" / "radiograft_pipelines", tmp_path / "radiograft_pipelines", ignore=ignored)
    return tmp_path


def lint_imports(packages: Path) -> subprocess.CompletedProcess[str]:
    """Runs import-linter on the packages in a folder, with the rules that lie there."""
    environment = {**os.environ, "PYTHONPATH": str(packages), "COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run([LINT_IMPORTS, "--no-cache"], cwd=packages, env=environment, capture_output=True, text=True)


def broken_rules(output: str) -> list[str]:
    """Returns the names of the rules that import-linter reports as broken."""
    return re.findall(r"^(.*?)(?:;.*)? BROKEN\b", output, re.MULTILINE)


def test_lint_imports_unchanged_packages_pass(packages: Path) -> None:
    done = lint_imports(packages)
    assert done.returncode == 0, done.stdout + done.stderr
    assert broken_rules(done.stdout) == []


@pytest.mark.parametrize(
    ("file", "line", "rules"),
    [
        ("radiograft/stages/evaluate/task.py", "import radiograft.stages.publish.task", [STAGES]),
        ("radiograft/stages/evaluate/task.py", "def later() -> None:\n    import radiograft.stages.ingest", [STAGES]),
        ("radiograft/metrics/ranking.py", "import radiograft.stages.publish.task", [LAYERS, STAGES]),
        ("radiograft/storage/local.py", "from radiograft.config import Ingest", [LAYERS]),
        ("radiograft/models/heads.py", "import radiograft.data.catalog", [LAYERS]),
        ("radiograft/new_package/__init__.py", "", [LAYERS]),
        ("radiograft/stages/evaluate/task.py", "from kfp import dsl", [KFP]),
        ("radiograft/utils/text.py", "import radiograft_pipelines.cli.console", [PACKAGES]),
    ],
    ids=[
        "stage_imports_stage",
        "stage_imports_stage_in_function",
        "library_imports_stage",
        "lower_layer_imports_higher",
        "independent_packages",
        "package_without_layer",
        "logic_imports_kfp",
        "components_import_pipelines",
    ],
)
def test_lint_imports_forbidden_import_fails(packages: Path, file: str, line: str, rules: list[str]) -> None:
    path = packages / file
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as source:
        source.write(f"\n{line}\n")
    done = lint_imports(packages)
    assert done.returncode == 1, done.stdout + done.stderr
    assert broken_rules(done.stdout) == rules, done.stdout + done.stderr
