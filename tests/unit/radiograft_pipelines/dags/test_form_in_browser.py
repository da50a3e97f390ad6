"""The description of each committed package in a browser, made of Markdown by the packages of KFP's UI."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from radiograft.config import all_settings
from radiograft_pipelines.dags.form import REFINEMENTS
from tests.helpers.kfp_markdown import SOURCE, Shown, needs_renderer, show_description
from tests.helpers.packages import PACKAGES, pipeline
from tests.unit.radiograft_pipelines.dags.test_form import FIELDS

every_package = pytest.mark.parametrize("package", PACKAGES)
GROUPS = ["Data", "Images", "Model", "Training", "Evaluation", "Promotion and registry"]
SHOWN = [name for name in all_settings() if name not in REFINEMENTS and not name.startswith("search_")]
MAX_HEIGHT = 1200  # pixels; 1,090 with DejaVu Sans


def _description(package: str) -> str:
    return str(pipeline(package)["pipelineInfo"]["description"])


@pytest.fixture(scope="module", params=PACKAGES)
def card(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """The description in the card on the pipeline's page."""
    return show_description(_description(request.param), tmp_path_factory.mktemp("card"))


@needs_renderer
def test_description_in_card_shows_names_as_spelled(card: Shown) -> None:
    assert sorted({*SHOWN, "settings", "overrides"} - {*card.codes}) == []
    assert [name for name in SHOWN if name not in card.text] == []
    assert card.emphasized == ["Other settings", "Run form"]
    assert "`" not in card.text


@needs_renderer
def test_description_in_card_has_headings_and_one_item_per_field(card: Shown) -> None:
    assert card.headings == ["h2 Other settings", "h2 Run form"]
    groups = [*GROUPS, "Search"] if "Search" in card.text else GROUPS
    assert [item.partition(":")[0] for item in card.items] == [*groups, *FIELDS]
    assert "model_weights: imagenet, none, a weight file's path or URI, or an installed package." in card.items


@needs_renderer
def test_description_in_card_is_short(card: Shown) -> None:
    """Fails if the description gets long: the card does not scroll, and the page hides its top."""
    assert card.height <= MAX_HEIGHT


@needs_renderer
@every_package
def test_description_in_table_shows_names_as_spelled(package: str, tmp_path: Path) -> None:
    shown = show_description(_description(package), tmp_path, inline=True)
    assert sorted({*SHOWN} - {*shown.codes}) == []
    assert shown.emphasized == ["Other settings", "Run form"]
    assert "• data_source: Folder, gs:// or s3:// prefix of the dataset" in shown.text


@needs_renderer
@pytest.mark.parametrize("inline", [False, True], ids=["card", "table"])
def test_show_description_name_without_backticks_is_broken(inline: bool, tmp_path: Path) -> None:
    """The control: the renderer takes underscores for emphasis, as on a real cluster."""
    shown = show_description("The setting publish_model_name, and `publish_model_name`.", tmp_path, inline)
    assert (shown.emphasized, shown.codes) == (["model"], ["publish_model_name"])
    assert shown.text == "The setting publishmodelname, and publish_model_name."


@needs_renderer
def test_description_without_backticks_loses_underscores(tmp_path: Path) -> None:
    """The control with a whole description: without backticks, most names are no longer as spelled."""
    shown = show_description(_description("transfer_learning").replace("`", ""), tmp_path)
    assert "publishmodelname: Name of the model" in shown.text
    assert "publish_model_name" not in shown.text


@needs_renderer
def test_show_description_html_is_text(tmp_path: Path) -> None:
    """KFP shows tags in a description as text."""
    assert show_description("a <b>bold</b> word", tmp_path).text == "a <b>bold</b> word"


def test_package_lock_has_versions_of_kfp_and_names_no_registry() -> None:
    lock = (SOURCE / "package-lock.json").read_text()
    packages = {name: package for name, package in json.loads(lock)["packages"].items() if name}
    assert {name.removeprefix("node_modules/"): package["version"] for name, package in packages.items()} == {
        "markdown-to-jsx": "7.7.17",
        "react": "19.2.4",
        "react-dom": "19.2.4",
        "scheduler": "0.27.0",
    }
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert "://" not in lock
