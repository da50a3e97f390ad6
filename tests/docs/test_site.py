"""The documentation builds without a warning, its links resolve, its notebook runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from docs.tools import links, notebook, reference
from radiograft.config import all_settings
from radiograft.config.training import Recipe
from radiograft_pipelines.cli.main import main, settings_table
from tests.repository import ROOT

pytestmark = pytest.mark.slow

NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built pages."""
    folder = tmp_path_factory.mktemp("site")
    paths = os.pathsep.join(str(ROOT / name) for name in ("", "components", "pipelines"))
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_site_links_resolve_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    assert links.check(site) == []


def test_site_has_the_generated_pages(site: Path) -> None:
    settings = (site / "reference" / "settings.html").read_text()
    assert all(f"<code>{name}</code>" in settings for name in (*all_settings(), "warm_up"))
    commands = (site / "reference" / "cli.html").read_text()
    assert all(f">{path}<" in commands for path, _ in reference.iter_commands(main))
    python = (site / "reference" / "python.html").read_text()
    assert all(f"radiograft.{name}" in python for name in ("Catalog", "build_backbone", "load_version"))


def test_settings_page_has_every_row_of_the_settings_command() -> None:
    page = reference.settings_page()
    for row in settings_table().splitlines()[2:]:
        assert row in page
    for name in Recipe.__dataclass_fields__:
        assert f"| `{name}` |" in page


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<a href="b.html#x">b</a>', []),
        ('<a href="https://example.org">elsewhere</a>', []),
        ('<a href="b.html#y">b</a>', ["a.html links to b.html#y, which is missing"]),
        ('<img src="c.png">', ["a.html links to c.png, which is missing"]),
        ('<script src="https://example.org/s.js"></script>', ["a.html loads https://example.org/s.js from elsewhere"]),
        ('<link rel="canonical" href="https://example.org/a">', []),
    ],
)
def test_check_links_reports_missing_and_external(tmp_path: Path, html: str, expected: list[str]) -> None:
    (tmp_path / "a.html").write_text(html)
    (tmp_path / "b.html").write_text('<h1 id="x">b</h1>')
    assert links.check(tmp_path) == expected


def test_execute_notebook_stores_prints_and_last_value() -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Title"]},
        {"cell_type": "code", "source": ["x = 1\n", "print(x)\n", "x + 1"], "outputs": []},
        {"cell_type": "code", "source": ["y = x"], "outputs": []},
    ]
    done = notebook.execute({"cells": cells})
    outputs = [cell["outputs"] for cell in done["cells"][1:]]
    assert [output.get("text", output.get("data")) for output in outputs[0]] == [["1\n"], {"text/plain": ["2"]}]
    assert outputs[1] == []
    assert notebook.to_markdown(done).startswith("# Title\n\n```python\nx = 1\nprint(x)\nx + 1\n```\n\n```text\n1\n```")


def test_execute_notebook_raises_what_a_cell_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        notebook.execute({"cells": [{"cell_type": "code", "source": ["1 / 0"], "outputs": []}]})


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_runs_and_its_outputs_are_stored(path: Path) -> None:
    """In a process of its own, for it sets TensorFlow's log level. The kinds of its outputs must be those stored."""
    stored = notebook.read(path)
    code = (
        "import json, sys; from pathlib import Path; from docs.tools import notebook;"
        "done = notebook.execute(notebook.read(Path(sys.argv[1])));"
        "print(json.dumps([[output['output_type'] for output in cell.get('outputs', [])] for cell in done['cells']]))"
    )
    paths = os.pathsep.join(str(ROOT / name) for name in ("", "components", "pipelines"))
    environment = os.environ | {"PYTHONPATH": paths}
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kinds = [[output["output_type"] for output in cell.get("outputs", [])] for cell in stored["cells"]]
    assert json.loads(done.stdout.splitlines()[-1]) == kinds
    assert any("execute_result" in cell for cell in kinds)
