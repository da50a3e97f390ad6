"""Small files that stand for large amounts of memory or time, each for the parser it is meant for:
`python -m tests.fuzz.bombs FOLDER` prints a line of JSON each.

They are made in one process and read in another one, whose peak of memory is the reading's own.
"""

from __future__ import annotations

import gzip
import io
import json
import logging
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from tests.helpers.images import encode, noise

MILLION = 10**6
VAST = 10**10
HEADER = b"\x93NUMPY\x02\x00\x00\x00\x00\x18"  # version 2, 0x18000000 bytes long


def _gz(*parts: bytes) -> bytes:
    content = io.BytesIO()
    with gzip.open(content, "wb", compresslevel=1) as file:
        for part in parts:
            file.write(part)
    return content.getvalue()


def _npz(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, npy in members.items():
            file.writestr(f"{name}.npy", npy)
    return content.getvalue()


def _npy_of_header(*shape: int) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return content.getvalue()


def _tar(kind: bytes, size: int) -> bytes:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = kind, size
    return header.tobuf(tarfile.GNU_FORMAT)


def _many_members() -> bytes:
    """Of which tarfile would keep 160 MB; the archive's end is missing."""
    block = tarfile.TarInfo("a.txt").tobuf(tarfile.USTAR_FORMAT)
    return _gz(*[block * 1000] * 350)[:-9]


def _repeated_rows() -> bytes:
    """A Parquet table of a gigabyte of text in few bytes, once as pandas' categories and once as plain text."""
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(MILLION, "int32")), ["x" * 1000])
    content = io.BytesIO()
    parquet.write_table(pa.table({"image": column}), content)
    return content.getvalue()


def _jpeg_of_scans() -> bytes:
    content = encode(Image.fromarray(noise(64)), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * 5000 + content[-2:]


def _laughs(name: bytes) -> bytes:
    lines = [b"  a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [b"  a%d: &a%d [%s]" % (n, n, b",".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 10)]
    return b"\n".join([name + b":", *lines])


def _heavy_key() -> bytes:
    """A pickle of a dictionary with a tuple for a key that is made of 2**60 others, each of which would be hashed."""
    return b"\x80\x02})" + b"2\x86" * 60 + b"Ns."


BOMBS: dict[str, tuple[str, str, Callable[[], bytes]]] = {  # group and name of the parser, and the file
    "a million columns": ("light", "csv", lambda: b"image," + b"a," * MILLION),
    "short rows under a long header": ("light", "csv", lambda: b"image," + b"a," * 9000 + b"\nx" * 100_000),
    "zeros in gzip": ("light", "csv.gz", lambda: _gz(*[bytes(MILLION)] * 400)),
    "a gigabyte of equal rows": ("light", "parquet", _repeated_rows),
    "an array's header of 400 MB": ("light", "npz", lambda: _npz(train_images=HEADER + b" " * 3 * 2**27)),
    "labels of 10 GB": (
        "light", "npz", lambda: _npz(train_images=_npy_of_header(VAST, 1, 1), train_labels=_npy_of_header(VAST, 1)),
    ),
    "a sample of 10 GB": ("stored", "drift sample", lambda: _npz(labels=_npy_of_header(VAST))),
    "a member's name of 400 MB": (
        "light", "tar.gz", lambda: _gz(_tar(tarfile.GNUTYPE_LONGNAME, 400 * MILLION), *[b"x" * MILLION] * 400),
    ),
    "many members": ("light", "tar.gz", _many_members),
    "a tuple of tuples": ("light", "torch", _heavy_key),
    "a memo of 2 GB": ("light", "torch", lambda: b"\x80\x02Nr" + (2**27).to_bytes(4, "little") + b"."),
    "a billion laughs": ("light", "settings", lambda: b"data_source: /data\n" + _laughs(b"image_size")),
    "a billion laughs for a cluster": ("light", "cluster", lambda: _laughs(b"labels")),
    "nested JSON": ("versions", "manifest", lambda: b'{"files":' + b"[" * MILLION),
    "many scans": ("heavy", "picture", _jpeg_of_scans),
    "more pixels than allowed": ("heavy", "picture", lambda: encode(Image.new("1", (20_000, 20_000)))),
}  # fmt: skip


def main(folder: Path) -> None:
    from tests.fuzz import fast_parsers, slow_parsers, stored, versions
    from tests.fuzz.contract import BrokenError, Watch

    logging.disable()
    groups = {"light": fast_parsers, "stored": stored, "versions": versions, "heavy": slow_parsers}
    for parser in (fast_parsers.PARSERS["csv"], slow_parsers.PARSERS["picture"]):
        parser.read(parser.seeds[0].files[0], folder)
    watch = Watch(folder)
    for name, (group, parser_name, _) in BOMBS.items():
        content = (folder.parent / f"{name}.bomb").read_bytes()
        try:
            outcome = "accepted" if watch.examine(groups[group].PARSERS[parser_name], content) else "refused"
        except BrokenError as error:
            outcome = str(error)
        print(json.dumps({"bomb": name, "bytes": len(content), "outcome": outcome}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
