"""HTML and scripts in names of files, labels and findings are shown as text and never run in a browser."""

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
    """Returns a data report whose file names and finding contain attacks."""
    place = tmp_path_factory.mktemp("attacks")
    label = ATTACKS[1]
    rows = [f"{c.number}.png,{c.number},{label if c.sick else 'No Finding'},{c.split},<b>{RUN}" for c in CASES]
    gone = [f'"{attack.replace(chr(34), chr(34) * 2)}",g,No Finding,train,PA' for attack in ATTACKS]
    files = {f"{case.number}.png": encode(case.pixels) for case in CASES}
    put(files | {"labels.csv": "\n".join(["image,patient,label,split,view", *rows, *gone]).encode()}, str(place / "in"))
    settings = Ingest(
        data_format="table", data_source=f"{place}/in/labels.csv", data_labels=label, data_table="views=all"
    )
    ingest.run(settings, place / "catalog")
    preprocess.run(Preprocess(image_size=32), place / "catalog", place / "shards")
    data_report.write_data_report(place / "shards", place / "data.html")
    return (place / "data.html").read_text()


def ran(text: str, folder: Path) -> bool:
    """Returns whether a script ran when the browser opened the page."""
    (folder / "page.html").write_text(text, encoding="utf-8")
    command = [str(CHROMIUM), *OPTIONS, f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=2000"]
    result = subprocess.run(
        [*command, "--dump-dom", (folder / "page.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "</html>" in result.stdout
    return f'{MARK}="1"' in result.stdout


def without_policy(text: str) -> str:
    return re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)


def test_data_report_escapes_attacks(data_page: str) -> None:
    """Fails with autoescape=False in html.environment."""
    for attack in ATTACKS:
        assert attack not in data_page
        assert str(escape(attack)) in data_page


@needs_chromium
def test_data_report_runs_no_script(data_page: str, tmp_path: Path) -> None:
    assert not ran(data_page, tmp_path)
    assert not ran(without_policy(data_page), tmp_path)


@needs_chromium
def test_data_report_policy_alone_blocks_scripts(
    data_page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without escaping and policy the scripts do run, which shows that the test can detect them."""
    unescaped = html.unescape(data_page)
    assert ran(without_policy(unescaped), tmp_path)
    assert not ran(unescaped, tmp_path)


@pytest.mark.parametrize("attack", ATTACKS)
def test_model_card_plain_text_contains_no_tags(attack: str) -> None:
    """Fails without the replacements in model_card.plain_text, since Markdown allows HTML."""
    assert not re.search(r"<[a-z/!]", plain_text(attack), re.IGNORECASE)
    assert "\n" not in plain_text(f"a\n\n# {attack}")
