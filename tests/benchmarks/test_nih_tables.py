"""A catalog has the counts that pandas computes on the raw table, for synthetic tables and for NIH's."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from radiograft.config import FINDINGS, Ingest
from radiograft.stages.ingest import task
from tests.benchmarks import nih_tables

ROWS = 3000


def catalog_counts(folder: Path) -> pd.DataFrame:
    """Ingests a folder's tables and returns the counts of the catalog."""
    nih_tables.write_headers(folder)
    task.run(Ingest(data_source=str(folder), data_labels="all"), folder / "catalog")
    return nih_tables.counts_of_catalog(folder / "catalog")


def test_ingest_synthetic_tables_has_counts_of_pandas(tmp_path: Path) -> None:
    nih_tables.draw(tmp_path / "nih", ROWS, ROWS // 4)
    expected = nih_tables.counts_of_table(tmp_path / "nih")
    assert expected["images"].sum() == ROWS
    assert len(expected) == 8  # test or not, PA or AP, female or male
    assert (expected > 0).all(axis=None)
    pd.testing.assert_frame_equal(catalog_counts(tmp_path / "nih"), expected)


def test_ingest_sampled_nih_tables_has_counts_of_pandas(
    test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADIOGRAFT_TEST_DATA", str(test_data))
    folder = tmp_path / "nih"
    assert nih_tables.copy(folder)
    table = pd.read_csv(folder / f"{nih_tables.TABLE}.gz", dtype=str)
    table.sample(ROWS, random_state=0).to_csv(folder / f"{nih_tables.TABLE}.gz", index=False)
    expected = nih_tables.counts_of_table(folder)
    assert expected["images"].sum() == ROWS
    assert expected[list(FINDINGS)].sum().gt(0).all()
    pd.testing.assert_frame_equal(catalog_counts(folder), expected)
