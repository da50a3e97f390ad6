"""Names of files, labels and findings that are HTML or script: text on every page, and nothing runs in a browser."""

from __future__ import annotations

import html
import re
import subprocess
from pathlib import Path

import pytest
from markupsafe import escape

from radiograft.config import Ingest, Preprocess
from radiograft.reporting import data_report
from radiograft.reporting.model_card import plain_text
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess
from tests.helpers.browser import CHROMIUM, OPTIONS, needs_chromium
from tests.helpers.images import encode
from tests.helpers.nih_source import put
from tests.helpers.sources import CASES

MARK = "data-ran"
RUN = "document.documentElement.dataset.ran=1"
ATTACKS = (
    f"<script>{RUN}</script>",
    f"<img src=x onerror={RUN}>",
    f'"><svg onload="{RUN}">',
    f'\'><a href="javascript:{RUN}" autofocus onfocus={RUN}>x</a>',
    f"</code></td><iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
)


@pytest.fixture(scope="module")
def data_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The data report of images whose names and only finding are attacks."""
    place = tmp_path_factory.mktemp("attacks")
    label = ATTACKS[1]
    rows = [f"{c.number}.png,{c.number},{label if c.sick else 'No Finding'},{c.split},<b>{RUN}" for c in CASES]
    gone = [f'"{attack.replace(chr(34), chr(34) * 2)}",g,No Finding,train,PA' for attack in ATTACKS]
    files = {f"{case.number}.png": encode(case.pixels) for case in CASES}
    put(files | {"labels.csv": "\n".join(["image,patient,label,split,view", *rows, *gone]).encode()}, str(place / "in"))
    settings = Ingest(data_format="table", data_source=f"{place}/in/labels.csv", data_labels=label)
    ingest.run(settings, place / "catalog")
    preprocess.run(Preprocess(image_size=32), place / "catalog", place / "shards")
    data_report.write_data_report(place / "shards", place / "data.html")
    return (place / "data.html").read_text()


def ran(text: str, folder: Path) -> bool:
    """Whether a page of its own, with nothing around it, got a script to run."""
    (folder / "page.html").write_text(text, encoding="utf-8")
    command = [str(CHROMIUM), *OPTIONS, f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=2000"]
    done = subprocess.run(
        [*command, "--dump-dom", (folder / "page.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "</html>" in done.stdout
    return f'{MARK}="1"' in done.stdout


def without_policy(text: str) -> str:
    return re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)


def test_attacks_are_text_on_the_data_report(data_page: str) -> None:
    """Fails with autoescape=False in report.environment."""
    for attack in ATTACKS:
        assert attack not in data_page
        assert str(escape(attack)) in data_page


@needs_chromium
def test_no_script_runs_on_the_data_report(data_page: str, tmp_path: Path) -> None:
    assert not ran(data_page, tmp_path)
    assert not ran(without_policy(data_page), tmp_path)


@needs_chromium
def test_the_policy_alone_would_stop_what_is_not_escaped(
    data_page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And without both, scripts run: so the browser would show it."""
    unescaped = html.unescape(data_page)
    assert ran(without_policy(unescaped), tmp_path)
    assert not ran(unescaped, tmp_path)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_model_card_holds_no_tag(attack: str) -> None:
    """Markdown lets HTML through; fails without the replacements in model_card.plain."""
    assert not re.search(r"<[a-z/!]", plain_text(attack), re.IGNORECASE)
    assert "\n" not in plain_text(f"a\n\n# {attack}")
