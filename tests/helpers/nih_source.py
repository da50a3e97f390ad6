"""A small data set in NIH's layout, with the table in both of NIH's versions.

Ingest does not decode images, so their content is arbitrary. With seed 0 and a validation fraction of one half,
patients 1 and 2 are in the training split and 6 and 8 in the validation split. Patient 3 is in the test list.
"""

from __future__ import annotations

from collections.abc import Mapping

from radiograft import storage
from radiograft.config import Ingest

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
TABLE_V2020 = f"""{HEADER}
00000001_000.png,Effusion|Pneumonia,0,1,57,M,PA,2682,2749,0.14300000000000002,0.14300000000000002
00000001_001.png,No Finding,1,1,58,M,PA,2894,2729,0.14300000000000002,0.14300000000000002
00000002_000.png,Mass,0,2,80,M,AP,2500,2048,0.168,0.168
00000003_000.png,Pneumonia,0,3,74,F,PA,2500,2048,0.168,0.168
00000003_001.png,No Finding,1,3,75,F,PA,2048,2500,0.168,0.168
00000006_000.png,Pneumonia,0,6,12,F,AP,2500,2048,0.168,0.168
00000006_001.png,No Finding,1,6,13,F,PA,2992,2991,0.143,0.143
00000008_000.png,No Finding,0,8,69,M,PA,2048,2500,0.171,0.171
"""
TABLE_2017 = f"""{HEADER},
00000001_000.png,Effusion|Pneumonia,0,00000001,057Y,M,PA,2682,2749,0.14300000000000002,0.14300000000000002,
00000001_001.png,No Finding,1,00000001,058Y,M,PA,2894,2729,0.14300000000000002,0.14300000000000002,
00000002_000.png,Mass,0,00000002,080Y,M,AP,2500,2048,0.168,0.168,
00000003_000.png,Pneumonia,0,00000003,074Y,F,PA,2500,2048,0.168,0.168,
00000003_001.png,No Finding,1,00000003,075Y,F,PA,2048,2500,0.168,0.168,
00000006_000.png,Pneumonia,0,00000006,012Y,F,AP,2500,2048,0.168,0.168,
00000006_001.png,No Finding,1,00000006,013Y,F,PA,2992,2991,0.143,0.143,
00000008_000.png,No Finding,0,00000008,069Y,M,PA,2048,2500,0.171,0.171,
"""
TRAIN_VAL = (
    "00000001_000.png", "00000001_001.png", "00000002_000.png", "00000006_000.png", "00000006_001.png",
    "00000008_000.png",
)  # fmt: skip
TEST = ("00000003_000.png", "00000003_001.png")
IMAGES = "images_001/images"


def nih_files(folder: str = IMAGES) -> dict[str, bytes]:
    """Returns the files by path: eight images of five patients, the table of 2020 and the lists."""
    images = {f"{folder}/{name}".lstrip("/"): f"pixels of {name}".encode() for name in (*TRAIN_VAL, *TEST)}
    return {
        **images,
        "Data_Entry_2017_v2020.csv": TABLE_V2020.encode(),
        "train_val_list.txt": "\n".join(TRAIN_VAL).encode(),
        "test_list.txt": "\n".join(TEST).encode(),
    }


def put(files: Mapping[str, bytes], place: str) -> str:
    """Writes the files below a folder or URI prefix and returns `place`."""
    for name, content in files.items():
        storage.write_bytes(storage.join(place, name), content)
    return place


def half_validating(source: str, **values: str) -> Ingest:
    """Returns settings of ingest for this data set, with half of the patients for validation."""
    return Ingest(data_source=source, data_validation_fraction=0.5, **values)  # type: ignore[arg-type]
