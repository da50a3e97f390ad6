"""The sample that a version keeps of its data: what is drawn, what is kept of it, and what is refused."""

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
    """Two images a patient, with missing values where pandas has them."""
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


def test_a_small_data_set_is_drawn_whole() -> None:
    assert draw_sample(catalog_rows(6), seed=3).tolist() == [0, 1, 2, 3, 4, 5]


def test_a_large_one_gives_a_thousand_different_images_in_their_order() -> None:
    drawn = draw_sample(catalog_rows(5000), seed=3)
    assert len(drawn) == 1000
    assert (np.diff(drawn) > 0).all()
    assert drawn.tolist() == draw_sample(catalog_rows(5000), seed=3).tolist()
    assert drawn.tolist() != draw_sample(catalog_rows(5000), seed=4).tolist()


def test_every_image_is_as_likely_as_any_other() -> None:
    """Each of 1,250 is drawn in 80 of 100 draws; four standard deviations are 16."""
    rows = catalog_rows(1250)
    times = Counter(place for seed in range(100) for place in draw_sample(rows, seed).tolist())
    assert min(times.values()) > 60
    assert len(times) == 1250
    assert abs(sum(times[place] for place in range(625)) - 50_000) < 1000


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    small_sample(seen=2).write(tmp_path / REFERENCE)
    found = ReferenceSample.read((tmp_path / REFERENCE).read_bytes())
    assert found.labels.tolist() == ["Pneumonia", "Effusion"]
    assert found.patients.tolist() == [0, 0, 1, 1]
    assert found.view.tolist() == ["AP", "", "AP", ""]
    assert found.sex.tolist() == ["", "", "", ""]
    np.testing.assert_array_equal(found.age, np.array([np.nan, 57, np.nan, 57], np.float32))
    np.testing.assert_array_equal(found.scores[:2], np.full((2, 2), 0.25, np.float32))
    np.testing.assert_array_equal(found.features[:2], np.arange(6).reshape(2, 3))
    assert np.isnan(found.scores[2:]).all()
    assert np.isnan(found.features[2:]).all()
    assert (found.scores.dtype, found.features.dtype) == (np.float32, np.float16)


def test_no_patient_can_be_found_in_it(tmp_path: Path) -> None:
    small_sample().write(tmp_path / REFERENCE)
    with zipfile.ZipFile(tmp_path / REFERENCE) as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert b"patient-" not in content
    assert "patient-".encode("utf-32-le") not in content
    assert "Effusion".encode("utf-32-le") in content  # so NumPy writes text


def test_features_too_large_for_half_precision_stay_finite() -> None:
    features = np.array([[1e6, -1e6, 1.0]] * 4)
    found = describe_rows(catalog_rows(4), ("Pneumonia",), np.zeros((4, 1)), features)
    assert found.features[0].tolist() == [65504, -65504, 1]


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (tmp_path.joinpath("sprung").touch, ())

    kept = vars(small_sample()) | {"view": np.array([Trap()] * 4)}
    content = io.BytesIO()
    np.savez(content, allow_pickle=True, **kept)
    with pytest.raises(ValueError, match=r"drift_reference\.npz must hold arrays labels, patients"):
        ReferenceSample.read(content.getvalue())
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 half of one"])
def test_what_is_no_sample_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"drift_reference\.npz must hold arrays"):
        ReferenceSample.read(content)


def test_a_sample_without_an_array_is_refused() -> None:
    kept = {name: array for name, array in vars(small_sample()).items() if name != "scores"}
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **kept)
    with pytest.raises(ValueError, match="scores"):
        ReferenceSample.read(content.getvalue())
