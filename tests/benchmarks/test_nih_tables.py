"""The catalog of tables in NIH's format counts what pandas counts in the raw table, drawn or NIH's own."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from radiograft.config import FINDINGS, Ingest
from radiograft.stages.ingest import task
from tests.benchmarks import nih_tables

ROWS = 3000


def ingested(folder: Path) -> pd.DataFrame:
    """Counts of the catalog of a folder's tables."""
    nih_tables.write_headers(folder)
    task.run(Ingest(data_source=str(folder), data_labels="all"), folder / "catalog")
    return nih_tables.counts_of_catalog(folder / "catalog")


def test_drawn_tables(tmp_path: Path) -> None:
    nih_tables.draw(tmp_path / "nih", ROWS, ROWS // 4)
    expected = nih_tables.counts_of_table(tmp_path / "nih")
    assert expected["pictures"].sum() == ROWS
    assert len(expected) == 8  # test or not, PA or AP, female or male
    assert (expected > 0).all(axis=None)
    pd.testing.assert_frame_equal(ingested(tmp_path / "nih"), expected)


def test_nihs_own_tables_cut_short(test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADIOGRAFT_TEST_DATA", str(test_data))
    folder = tmp_path / "nih"
    assert nih_tables.copy(folder)
    table = pd.read_csv(folder / f"{nih_tables.TABLE}.gz", dtype=str)
    table.sample(ROWS, random_state=0).to_csv(folder / f"{nih_tables.TABLE}.gz", index=False)
    expected = nih_tables.counts_of_table(folder)
    assert expected["pictures"].sum() == ROWS
    assert expected[list(FINDINGS)].sum().gt(0).all()
    pd.testing.assert_frame_equal(ingested(folder), expected)
