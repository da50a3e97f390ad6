"""The layout law: the catalog alone decides which image stands where, and workers share the shards evenly."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radiograft.data.catalog import SPLITS
from radiograft.data.shards import files as shard_files
from radiograft.data.shards.files import Shard, layout_digest, shards_of_worker

FEW = 3  # images a shard
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
def test_every_image_stands_once_in_a_full_shard_of_its_split(rows: pd.DataFrame) -> None:
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
def test_what_lies_in_an_archive_is_read_in_one_pass_and_files_keep_their_order(rows: pd.DataFrame) -> None:
    for split in SPLITS:
        mine = [shard.rows for shard in shard_files.plan_shards(rows) if shard.name.startswith(f"{split}-")]
        order = pd.concat(mine)
        packed = [uri.split("#") for uri in order["uri"] if "#" in uri]
        archives = [archive for archive, _ in packed]
        assert archives == sorted(archives)  # each archive's images follow each other
        files = order["image_id"][~order["uri"].str.contains("#", regex=False)]
        assert list(files) == sorted(files)
        members = [(archive, int(number)) for archive, number in packed if archive.endswith(".tar.gz")]
        assert members == sorted(members)


@given(rows=catalogs, workers=st.integers(1, 64))
def test_workers_share_all_shards_evenly_and_in_order(rows: pd.DataFrame, workers: int) -> None:
    shards = shard_files.plan_shards(rows)
    shares = [shards_of_worker(shards, worker, workers) for worker in range(workers)]
    assert [shard.name for each in shares for shard in each] == [shard.name for shard in shards]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("worker", [-1, 2])
def test_a_worker_that_there_is_not_is_refused(worker: int) -> None:
    with pytest.raises(ValueError, match=f"worker must be from 0 to 1, got {worker}"):
        shards_of_worker([], worker, 2)


def test_other_rows_another_order_or_another_place_have_another_digest() -> None:
    rows = pd.DataFrame({"image_id": ["a", "b"], "split": "train", "uri": ["/a", "/b"], "md5": ["1", "2"]})
    others = [
        rows[::-1],
        rows.assign(uri=["/a", "/c"]),
        rows.assign(md5=["1", "3"]),
        rows.assign(split="test"),
        rows[:1],
    ]
    digests = {layout_digest(shard_files.plan_shards(each)) for each in (rows, *others)}
    assert len(digests) == 6
    assert layout_digest(shard_files.plan_shards(rows)) in digests
