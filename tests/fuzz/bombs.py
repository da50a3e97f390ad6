"""Decompression bombs and similar: small files that would take large amounts of memory or time to parse.

`python -m tests.fuzz.bombs FOLDER` parses the files beside FOLDER and prints a line of JSON per file. The files are
created in another process, so that the peak memory of this process is that of parsing.
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
HEADER = b"\x93NUMPY\x02\x00\x00\x00\x00\x18"  # version 2, header length 0x18000000


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


def _npy_header(*shape: int) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return content.getvalue()


def _tar(kind: bytes, size: int) -> bytes:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = kind, size
    return header.tobuf(tarfile.GNU_FORMAT)


def _many_members() -> bytes:
    """Returns an archive without an end whose members tarfile would cache in 160 MB."""
    block = tarfile.TarInfo("a.txt").tobuf(tarfile.USTAR_FORMAT)
    return _gz(*[block * 1000] * 350)[:-9]


def _repeated_rows() -> bytes:
    """Returns a small Parquet file that decodes to a gigabyte of text through dictionary encoding."""
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(MILLION, "int32")), ["x" * 1000])
    content = io.BytesIO()
    parquet.write_table(pa.table({"image": column}), content)
    return content.getvalue()


def _jpeg_with_many_scans() -> bytes:
    content = encode(Image.fromarray(noise(64)), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * 5000 + content[-2:]


def _vast_webp() -> bytes:
    content = bytearray(encode(noise(64), "WEBP", icc_profile=bytes(128)))
    place = content.index(b"VP8X") + 12
    content[place : place + 6] = b"\xff" * 6
    return bytes(content)


def _zip_of_zeros(megabytes: int) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.png", "w") as member:
        for _ in range(megabytes):
            member.write(bytes(MILLION))
    return content.getvalue()


def _billion_laughs(name: bytes) -> bytes:
    lines = [b"  a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [b"  a%d: &a%d [%s]" % (n, n, b",".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 10)]
    return b"\n".join([name + b":", *lines])


def _nested_tuple_key() -> bytes:
    """Returns a pickled dictionary whose key is a tuple of 2**60 nested tuples, all of which would be hashed."""
    return b"\x80\x02})" + b"2\x86" * 60 + b"Ns."


def _module_in_itself() -> bytes:
    """Returns a pickled module that contains itself twice, so that its tensors would have any number of names."""
    empty = b"ccollections\nOrderedDict\n)R"
    modules = b"X\x08\x00\x00\x00_modules" + empty + b"(X\x01\x00\x00\x00ah\x63X\x01\x00\x00\x00bh\x63u"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("a/data.pkl", b"\x80\x02ctorch.nn.modules\nA\n)\x81q\x63}(" + modules + b"ub.")
    return content.getvalue()


# Group and name of the parser, and a function that returns the file.
BOMBS: dict[str, tuple[str, str, Callable[[], bytes]]] = {
    "a million columns": ("fast_parsers", "csv", lambda: b"image," + b"a," * MILLION),
    "short rows under a long header": ("fast_parsers", "csv", lambda: b"image," + b"a," * 9000 + b"\nx" * 100_000),
    "zeros in gzip": ("fast_parsers", "csv.gz", lambda: _gz(*[bytes(MILLION)] * 400)),
    "a gigabyte of equal rows": ("fast_parsers", "parquet", _repeated_rows),
    "array header of 400 MB": ("fast_parsers", "npz", lambda: _npz(train_images=HEADER + b" " * 3 * 2**27)),
    "labels of 10 GB": (
        "fast_parsers", "npz", lambda: _npz(train_images=_npy_header(VAST, 1, 1), train_labels=_npy_header(VAST, 1)),
    ),
    "a sample of 10 GB": ("stored", "drift sample", lambda: _npz(labels=_npy_header(VAST))),
    "member name of 400 MB": (
        "fast_parsers", "tar.gz", lambda: _gz(_tar(tarfile.GNUTYPE_LONGNAME, 400 * MILLION), *[b"x" * MILLION] * 400),
    ),
    "many members": ("fast_parsers", "tar.gz", _many_members),
    "zeros in zip": ("fast_parsers", "zip", lambda: _zip_of_zeros(400)),
    "nested tuples": ("fast_parsers", "torch", _nested_tuple_key),
    "a memo of 2 GB": ("fast_parsers", "torch", lambda: b"\x80\x02Nr" + (2**27).to_bytes(4, "little") + b"."),
    "a module in itself": ("fast_parsers", "torch module", _module_in_itself),
    "a header of 2**62 bytes": ("fast_parsers", "safetensors", lambda: (2**62).to_bytes(8, "little") + b"{" * 1000),
    "arrays of 10 GB": ("fast_parsers", "torch", lambda: _npz(weight=_npy_header(VAST))),
    "a billion laughs": ("fast_parsers", "settings", lambda: b"data_source: /data\n" + _billion_laughs(b"image_size")),
    "a billion laughs for a cluster": ("fast_parsers", "cluster", lambda: _billion_laughs(b"labels")),
    "nested JSON": ("versions", "manifest", lambda: b'{"files":' + b"[" * MILLION),
    "many scans": ("slow_parsers", "image", _jpeg_with_many_scans),
    "a WebP canvas of 16 million by 16 million": ("slow_parsers", "image", _vast_webp),
    "more pixels than allowed in TIFF": (
        "slow_parsers", "image", lambda: encode(Image.new("1", (20_000, 20_000)), "TIFF", compression="group4"),
    ),
    "more pixels than allowed": ("slow_parsers", "image", lambda: encode(Image.new("1", (20_000, 20_000)))),
}  # fmt: skip


def main(folder: Path) -> None:
    from tests.fuzz import fast_parsers, slow_parsers, stored, versions
    from tests.fuzz.contract import ContractMonitor, ContractViolationError

    logging.disable()
    groups = {"fast_parsers": fast_parsers, "stored": stored, "versions": versions, "slow_parsers": slow_parsers}
    for parser in (fast_parsers.PARSERS["csv"], slow_parsers.PARSERS["image"]):  # imports and caches do not count
        parser.read(parser.seeds[0].files[0], folder)
    monitor = ContractMonitor(folder)
    for name, (group, parser_name, _) in BOMBS.items():
        content = (folder.parent / f"{name}.bomb").read_bytes()
        try:
            outcome = "accepted" if monitor.check(groups[group].PARSERS[parser_name], content) else "refused"
        except ContractViolationError as error:
            outcome = str(error)
        print(json.dumps({"bomb": name, "bytes": len(content), "outcome": outcome}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
