"""The reference sample of a version: sampling, stored content, and malformed files."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from radiograft.drift.reference import REFERENCE, ReferenceSample, describe_rows, draw_sample


def catalog_rows(images: int, **columns: Any) -> pd.DataFrame:
    """Two images per patient, with missing values as pandas represents them."""
    known: dict[str, Any] = {
        "patient_id": pd.array([f"patient-{number // 2:05d}" for number in range(images)], "string"),
        "view": pd.array(["AP", None] * (images // 2), "string"),
        "sex": pd.array([None] * images, "string"),
        "age": [np.nan, 57.0] * (images // 2),
    }
    return pd.DataFrame(known | columns)


def small_sample(seen: int = 4) -> ReferenceSample:
    scores, features = np.full((seen, 2), 0.25), np.arange(3.0 * seen).reshape(seen, 3)
    return describe_rows(catalog_rows(4), ("Pneumonia", "Effusion"), scores, features)


def test_draw_sample_small_data_set_takes_all() -> None:
    assert draw_sample(catalog_rows(6), seed=3).tolist() == [0, 1, 2, 3, 4, 5]


def test_draw_sample_large_data_set_takes_thousand_in_order() -> None:
    drawn = draw_sample(catalog_rows(5000), seed=3)
    assert len(drawn) == 1000
    assert (np.diff(drawn) > 0).all()
    assert drawn.tolist() == draw_sample(catalog_rows(5000), seed=3).tolist()
    assert drawn.tolist() != draw_sample(catalog_rows(5000), seed=4).tolist()


def test_draw_sample_is_uniform() -> None:
    """Each of 1,250 images is drawn in about 80 of 100 samples; four standard deviations are 16."""
    rows = catalog_rows(1250)
    times = Counter(row for seed in range(100) for row in draw_sample(rows, seed).tolist())
    assert min(times.values()) > 60
    assert len(times) == 1250
    assert abs(sum(times[row] for row in range(625)) - 50_000) < 1000


def test_read_written_sample_round_trips(tmp_path: Path) -> None:
    small_sample(seen=2).write(tmp_path / REFERENCE)
    sample = ReferenceSample.read((tmp_path / REFERENCE).read_bytes())
    assert sample.labels.tolist() == ["Pneumonia", "Effusion"]
    assert sample.patients.tolist() == [0, 0, 1, 1]
    assert sample.view.tolist() == ["AP", "", "AP", ""]
    assert sample.sex.tolist() == ["", "", "", ""]
    np.testing.assert_array_equal(sample.age, np.array([np.nan, 57, np.nan, 57], np.float32))
    np.testing.assert_array_equal(sample.scores[:2], np.full((2, 2), 0.25, np.float32))
    np.testing.assert_array_equal(sample.features[:2], np.arange(6).reshape(2, 3))
    assert np.isnan(sample.scores[2:]).all()
    assert np.isnan(sample.features[2:]).all()
    assert (sample.scores.dtype, sample.features.dtype) == (np.float32, np.float16)


def test_read_file_of_older_version_has_unknown_ranges() -> None:
    """Fails if versions that were published before the ranges were recorded can no longer be compared."""
    content = io.BytesIO()
    np.savez(
        content, allow_pickle=False, **{name: each for name, each in vars(small_sample()).items() if name != "ranges"}
    )
    assert np.isnan(ReferenceSample.read(content.getvalue()).ranges).all()


def test_read_malformed_ranges_raises() -> None:
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **vars(small_sample()) | {"ranges": np.zeros((1, 2))})
    with pytest.raises(ValueError, match=r"drift_reference\.npz must contain"):
        ReferenceSample.read(content.getvalue())


def test_write_stores_no_patient_id(tmp_path: Path) -> None:
    small_sample().write(tmp_path / REFERENCE)
    with zipfile.ZipFile(tmp_path / REFERENCE) as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert b"patient-" not in content
    assert "patient-".encode("utf-32-le") not in content
    assert "Effusion".encode("utf-32-le") in content  # NumPy stores text as UTF-32


def test_describe_rows_large_features_are_clipped_to_float16() -> None:
    features = np.array([[1e6, -1e6, 1.0]] * 4)
    sample = describe_rows(catalog_rows(4), ("Pneumonia",), np.zeros((4, 1)), features)
    assert sample.features[0].tolist() == [65504, -65504, 1]


def test_read_pickled_object_raises_without_loading(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (tmp_path.joinpath("triggered").touch, ())

    arrays = vars(small_sample()) | {"view": np.array([Trap()] * 4)}
    content = io.BytesIO()
    np.savez(content, allow_pickle=True, **arrays)
    with pytest.raises(ValueError, match=r"drift_reference\.npz must contain the arrays labels, patients"):
        ReferenceSample.read(content.getvalue())
    assert not (tmp_path / "triggered").exists()


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 half of one"])
def test_read_malformed_file_raises(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"drift_reference\.npz must contain the arrays"):
        ReferenceSample.read(content)


def test_read_missing_array_raises() -> None:
    arrays = {name: array for name, array in vars(small_sample()).items() if name != "scores"}
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    with pytest.raises(ValueError, match="scores"):
        ReferenceSample.read(content.getvalue())
