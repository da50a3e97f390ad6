"""Tables as public archives write them: the labels, patients and views that ingest reads, or the reason why it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from radiograft.config import Ingest
from radiograft.data.catalog import Catalog, summarize_exclusions
from radiograft.stages.ingest import task


def build(
    folder: Path, table: pd.DataFrame, data_table: str = "standard", *, column: str = "image", **form: object
) -> Catalog:
    """Writes the table and one distinct file per name in `column`, then runs ingest."""
    for number, name in enumerate(dict.fromkeys(table[column])):
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / "images" / f"{str(name).removesuffix('.png')}.png").write_bytes(str(number).encode())
    table.to_csv(folder / "t.csv", index=False)
    form = {"data_validation_fraction": 0.3, "data_test_fraction": 0.3} | form
    return task.build_catalog(
        Ingest.of({"data_format": "table", "data_source": str(folder / "t.csv"), "data_table": data_table, **form})
    )


def names(count: int) -> list[str]:
    return [f"x{number:03d}.png" for number in range(count)]


def excluded(catalog: Catalog) -> dict[str, int]:
    return {group["reason"]: group["count"] for group in summarize_exclusions(catalog.excluded)}


def truth(catalog: Catalog, label: str = "Pneumonia") -> list[float]:
    return list(catalog.rows[f"label:{label}"])


SPELLINGS = (
    "PA", "AP", "AP Supine", "AP semi erect", "PA", "AP", "Axial", "Coronal", "SWIMMERS", "LAO", "Lateral view", "L", "LL", "",
    "left lateral", "unknown",
)  # fmt: skip


def views_table(spellings: Sequence[str] = SPELLINGS) -> pd.DataFrame:
    images = names(6 * len(spellings))
    rows = range(len(images))
    return pd.DataFrame(
        {"image": images, "patient": rows, "view": [*spellings] * 6, "Pneumonia": [n // 16 % 2 for n in rows]}
    )


@pytest.mark.parametrize(("views", "kept"), [("frontal", 48), ("lateral", 36), ("all", 96)])
def test_build_catalog_keeps_views_in_list_of_projection(tmp_path: Path, views: str, kept: int) -> None:
    catalog = build(tmp_path, views_table(), f"views={views}")
    assert len(catalog.rows) == kept


def test_build_catalog_unknown_spellings_are_counted_and_named(tmp_path: Path) -> None:
    catalog = build(tmp_path, views_table())
    reason = "view that is spelled neither as frontal nor as lateral"
    assert excluded(catalog) == {"not a frontal view": 24, reason: 24}
    assert (
        "24 images have a view that is neither frontal nor lateral: 'AXIAL' (6), 'CORONAL' (6), 'SWIMMERS' (6), 'LAO' (6)"
        in catalog.notes
    )


def test_build_catalog_unknown_spellings_are_kept_if_policy_says_so(tmp_path: Path) -> None:
    catalog = build(tmp_path, views_table(), data_policy="unknown_view=report")
    assert len(catalog.rows) == 72
    assert summarize_exclusions(catalog.suspects)[0]["count"] == 24


def test_build_catalog_deidentified_spellings_are_only_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADIOGRAFT_SALT", "salt-of-16-or-more-characters")
    catalog = build(tmp_path, views_table(["PA", "Jane Doe", "AP", "John Roe"] * 4), data_deidentify="yes")
    assert "48 images have a view that is neither frontal nor lateral: 2 spellings" in catalog.notes
