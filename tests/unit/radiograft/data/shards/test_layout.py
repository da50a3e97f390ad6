"""Shard layout: it depends only on the catalog, and workers share the shards evenly."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radiograft.data.catalog import SPLITS
from radiograft.data.shards import files as shard_files
from radiograft.data.shards.files import Shard, layout_digest, shards_of_worker

FEW = 3  # images per shard
uris = st.one_of(
    st.integers(0, 99).map("/data/{}.png".format),
    st.tuples(st.integers(1, 2), st.integers(0, 99)).map(lambda place: "gs://b/images_{}.tar.gz#{}".format(*place)),
    st.tuples(st.sampled_from(["train", "val"]), st.integers(0, 99)).map(lambda place: "set.npz#{}/{}".format(*place)),
)
catalogs = st.lists(st.tuples(st.sampled_from(SPLITS), uris), max_size=30).map(
    lambda rows: pd.DataFrame(
        [(f"{number:03d}", split, uri) for number, (split, uri) in enumerate(rows)],
        columns=["image_id", "split", "uri"],
    )
)


@pytest.fixture(autouse=True, scope="module")
def _small_shards() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_files, "IMAGES_PER_SHARD", FEW)
        yield


def ids(shards: list[Shard]) -> list[str]:
    return [image_id for shard in shards for image_id in shard.rows["image_id"]]


@given(rows=catalogs)
def test_plan_shards_stores_each_image_once(rows: pd.DataFrame) -> None:
    shards = shard_files.plan_shards(rows)
    assert sorted(ids(shards)) == list(rows["image_id"])
    for split in SPLITS:
        mine = [shard for shard in shards if shard.name.startswith(f"{split}-")]
        count = int((rows["split"] == split).sum())
        assert [len(shard.rows) for shard in mine] == [FEW] * (count // FEW) + [count % FEW] * (
            not count or count % FEW > 0
        )
        assert [shard.name for shard in mine] == [f"{split}-{n:05d}-of-{len(mine):05d}" for n in range(len(mine))]
        assert all((shard.rows["split"] == split).all() for shard in mine)
    assert [shard.name.partition("-")[0] for shard in shards] == sorted(
        (shard.name.partition("-")[0] for shard in shards), key=SPLITS.index
    )


@given(rows=catalogs)
def test_plan_shards_reads_archives_in_one_pass(rows: pd.DataFrame) -> None:
    for split in SPLITS:
        mine = [shard.rows for shard in shard_files.plan_shards(rows) if shard.name.startswith(f"{split}-")]
        order = pd.concat(mine)
        packed = [uri.split("#") for uri in order["uri"] if "#" in uri]
        archives = [archive for archive, _ in packed]
        assert archives == sorted(archives)  # images of an archive are consecutive
        files = order["image_id"][~order["uri"].str.contains("#", regex=False)]
        assert list(files) == sorted(files)
        members = [(archive, int(number)) for archive, number in packed if archive.endswith(".tar.gz")]
        assert members == sorted(members)


@given(rows=catalogs, workers=st.integers(1, 64))
def test_shards_of_worker_are_even_and_in_order(rows: pd.DataFrame, workers: int) -> None:
    shards = shard_files.plan_shards(rows)
    shares = [shards_of_worker(shards, worker, workers) for worker in range(workers)]
    assert [shard.name for share in shares for shard in share] == [shard.name for shard in shards]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("worker", [-1, 2])
def test_shards_of_worker_out_of_range_raises(worker: int) -> None:
    with pytest.raises(ValueError, match=f"worker must be from 0 to 1, got {worker}"):
        shards_of_worker([], worker, 2)


def test_layout_digest_depends_on_rows_order_and_uri() -> None:
    rows = pd.DataFrame({"image_id": ["a", "b"], "split": "train", "uri": ["/a", "/b"], "md5": ["1", "2"]})
    others = [
        rows[::-1],
        rows.assign(uri=["/a", "/c"]),
        rows.assign(md5=["1", "3"]),
        rows.assign(split="test"),
        rows[:1],
    ]
    digests = {layout_digest(shard_files.plan_shards(frame)) for frame in (rows, *others)}
    assert len(digests) == 6
    assert layout_digest(shard_files.plan_shards(rows)) in digests
