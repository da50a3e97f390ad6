"""The documentation is true to the code: commands and settings exist, links resolve, generated files are fresh."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import click
import pytest

from docs.tools import diagrams, reference
from radiograft.config.resolution import apply_overrides, load_settings_file
from radiograft_pipelines.cli.main import main
from radiograft_pipelines.dags.form import FIELDS
from tests.docs.markdown import PAGES, commands, links, radiograft_commands, words
from tests.repository import ROOT

MAX_README_LINES = 120
MADE_UP_FILES = ("mine.yaml", "runs/20261129-024714-6b13c2b2/best.yaml")  # settings files of the reader
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def _parse(arguments: list[str]) -> click.Context:
    """Lets click read a command's arguments, without running it.

    Raises:
        click.UsageError: an unknown command or option, or a value of the wrong type.
    """
    command: click.Command = main
    while isinstance(command, click.Group):
        command, arguments = command.commands[arguments[0]], arguments[1:]
    return command.make_context(str(command.name), arguments)


@every_page
def test_commands_in_pages_are_accepted_by_click(page: Path) -> None:
    for arguments in radiograft_commands(page):
        values = _parse(list(arguments)).params
        if "assignments" in values:
            apply_overrides({}, values["assignments"])
        if values.get("settings") and values["settings"] not in MADE_UP_FILES:
            load_settings_file(values["settings"])


@every_page
def test_make_targets_in_pages_exist(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = [words(command)[1] for command in commands(page) if command.startswith("make ")]
    assert set(named) <= targets


@every_page
def test_links_in_pages_resolve(page: Path) -> None:
    notebooks = {path.with_suffix(".md") for path in (ROOT / "docs").rglob("*.ipynb")}  # shown as pages
    generated = {ROOT / "docs" / name for name in reference.PAGES} | notebooks
    for target in links(page):
        parts = urlsplit(target)
        if not parts.scheme and parts.path:
            path = (page.parent / parts.path).resolve()
            assert path in generated or path.exists(), f"{page} links to {target}"


def test_readme_first_screen_is_short_and_says_research_only() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= MAX_README_LINES
    assert "**Research only. Not for diagnosis.**" in lines[:10]


@pytest.mark.parametrize("stage", reference.stage_names())
def test_component_readme_is_fresh(stage: str) -> None:
    written = (reference.folder_of(stage) / "README.md").read_text(encoding="utf-8")
    assert written == reference.readme(stage), "run `make readmes`"


def test_component_readme_evaluate_lists_inputs_outputs_and_settings() -> None:
    text = reference.readme("evaluate")
    inputs, outputs = text.partition("Inputs:")[2].split("Outputs:")
    assert re.findall(r"^\| `(\w+)` \| (\w+)", inputs, re.MULTILINE) == [
        ("shards", "Dataset"), ("features", "Dataset"), ("feature_model", "Model"), ("model", "Model"),
    ]  # fmt: skip
    assert "| `report` | HTML |" in outputs
    assert "| `run_id` | `str` | ID of the pipeline run. |" in outputs
    assert "| `gate_min_auroc` | `0.5` | Minimum test AUROC" in outputs


@pytest.mark.parametrize("name", list(diagrams.DIAGRAMS))
def test_diagram_is_fresh(name: str) -> None:
    assert (diagrams.IMAGES / name).read_text(encoding="utf-8") == diagrams.DIAGRAMS[name](), "run `make diagrams`"


def test_diagram_of_layers_shows_every_package() -> None:
    packages = {path.parent.name for path in (ROOT / "components" / "radiograft").glob("*/__init__.py")}
    shown = [name for layer in diagrams.LAYERS for name in layer]
    assert packages <= set(shown)
    assert len(shown) == len(set(shown))


def test_page_of_the_ui_lists_all_fields_of_the_form() -> None:
    text = (ROOT / "docs" / "how-to" / "kfp_ui.md").read_text()
    table = text.partition("| Field | Content |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE)
    assert [name for cell in cells for name in re.findall(r"`(\w+)`", cell)] == list(FIELDS)
    assert f"{len(FIELDS)} text fields" in text


def test_changelog_has_sections_of_keep_a_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    titles = re.findall(r"^(#{2,3} .+)$", text, re.MULTILINE)
    assert titles == ["## [Unreleased]", "### Added", "### Changed", "### Fixed"]
