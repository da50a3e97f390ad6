"""A simulated archive in NIH's layout that randomly stays, changes, shrinks or breaks between scheduled runs."""

from __future__ import annotations

import io
import random
import shutil
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from radiograft.data.synthetic.dataset import TABLE, generate_phantom_files

PATIENTS = 72
PERMANENT = 56  # patients; enough that each split contains both classes. The others come and go
PATIENTS_PER_EVENT = 2  # who come or go
SIZE = 64  # pixels
FINDING, NONE = "Pneumonia", "No Finding"
LISTS = ("train_val_list.txt", "test_list.txt")
LIKELY = {"stays": 5, "changes": 2, "shrinks": 1, "breaks": 2}
Files = dict[str, bytes]


class Event(NamedTuple):
    """A change of the archive: its kind, `stays`, `changes`, `shrinks` or `breaks`, and a description."""

    kind: str
    how: str


class SimulatedArchive:
    """The archive, stored in a folder."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self._all = dict(generate_phantom_files(PATIENTS, seed, SIZE))
        self._images = sorted(name for name in self._all if name.endswith(".png"))
        self._rng = random.Random(seed)
        self._present = set(range(1, (PERMANENT + PATIENTS) // 2 + 1))
        self._changed: dict[str, set[str]] = {"corrected": set(), "rescanned": set(), "truncated": set()}
        self._write(self._files())

    @property
    def data(self) -> Hashable:
        """A key that is equal if and only if images, patients and labels are equal."""
        return frozenset(self._present), *map(frozenset, self._changed.values())

    def next(self) -> Event:
        """Applies a random event before the next scheduled run. A corrupt archive is repaired first."""
        kind = self._rng.choices(list(LIKELY), list(LIKELY.values()))[0]
        if kind == "shrinks" and not self._temporary_patients():
            kind = "changes"
        how = {"stays": self._stay, "changes": self._change, "shrinks": self._shrink, "breaks": self._break}[kind]()
        return Event(kind, how)

    def _stay(self) -> str:
        files = self._files()
        if self._rng.random() < 0.5:
            self._write(files)
            return "as it was"
        shutil.rmtree(self.folder, ignore_errors=True)
        header, *rows = files[TABLE].decode().splitlines()
        self._rng.shuffle(rows)
        self._write(files | {TABLE: "\n".join([header, *rows]).encode()})
        return "copied again, the table's rows in another order"

    def _change(self) -> str:
        kind = self._rng.choice(["arrived", *self._changed])
        absent = sorted(set(range(1, PATIENTS + 1)) - self._present)
        if kind == "arrived" and absent:
            arrived = absent[:PATIENTS_PER_EVENT]
            self._present |= set(arrived)
            how = f"{len(arrived)} patients more"
        else:
            kind = "corrected" if kind == "arrived" else kind
            self._changed[kind] ^= {self._rng.choice(self._images[:PERMANENT])}
            how = {"corrected": "a label", "rescanned": "another film", "truncated": "a truncated image"}[kind]
        self._write(self._files())
        return how

    def _shrink(self) -> str:
        patients = self._temporary_patients()
        self._present -= set(self._rng.sample(patients, min(PATIENTS_PER_EVENT, len(patients))))
        self._write(self._files())
        return "patients withdrew"

    def _break(self) -> str:
        how = self._rng.choice(sorted(BREAKS))
        self._write(BREAKS[how](self._files()))
        return how

    def _temporary_patients(self) -> list[int]:
        return sorted(patient for patient in self._present if patient > PERMANENT)

    def _files(self) -> Files:
        """Returns every file of the intact archive by name."""
        header, *rows = self._all[TABLE].decode().splitlines()
        cells = [row.split(",") for row in rows if int(row.split(",")[3]) in self._present]
        names = {row[0] for row in cells}
        corrected = {Path(name).name for name in self._changed["corrected"]}
        for row in cells:
            row[1] = _other_label(row[1]) if row[0] in corrected else row[1]
        table = "\n".join([header, *map(",".join, cells)])
        lists = {name: "\n".join(line for line in _lines(self._all[name]) if line in names).encode() for name in LISTS}
        return {**self._films(names), TABLE: table.encode(), **lists}

    def _films(self, names: set[str]) -> Files:
        films = {name: self._all[name] for name in self._images if Path(name).name in names}
        for name in self._changed["rescanned"] & films.keys():
            films[name] = _darker(films[name])
        for name in self._changed["truncated"] & films.keys():
            films[name] = films[name][: len(films[name]) // 2]
        return films

    def _write(self, files: Files) -> None:
        """Makes the folder contain exactly these files. Deletes the folder if there are none."""
        for path in self.folder.rglob("*"):
            if path.is_file() and path.relative_to(self.folder).as_posix() not in files:
                path.unlink()
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)
        if not files:
            shutil.rmtree(self.folder, ignore_errors=True)


def _other_label(labels: str) -> str:
    """Adds the finding if it is absent, and removes it otherwise."""
    findings = set(labels.split("|")) ^ {FINDING}
    return "|".join(sorted(findings - {NONE})) or NONE


def _darker(png: bytes) -> bytes:
    film = io.BytesIO()
    Image.open(io.BytesIO(png)).point(lambda gray: int(gray * 0.95)).save(film, "PNG")
    return film.getvalue()


def _lines(content: bytes) -> list[str]:
    return content.decode().splitlines()


def _in_both_lists(files: Files) -> Files:
    """Moves one image of a training patient to the test list."""
    train = _lines(files[LISTS[0]])
    patients = [name.partition("_")[0] for name in train]
    name = next(name for name, patient in zip(train, patients, strict=True) if patients.count(patient) > 1)
    lists = {LISTS[0]: [line for line in train if line != name], LISTS[1]: [*_lines(files[LISTS[1]]), name]}
    return files | {path: "\n".join(names).encode() for path, names in lists.items()}


def _empty_images(files: Files) -> Files:
    return {name: b"" if name.endswith(".png") else content for name, content in files.items()}


# Reasons to refuse the archive, and functions that corrupt its files accordingly.
BREAKS: dict[str, Callable[[Files], Files]] = {
    "no folder": lambda files: {},
    "no table": lambda files: {name: content for name, content in files.items() if name != TABLE},
    "another header": lambda files: files | {TABLE: b"a,b,c\n1,2,3"},
    "half a table": lambda files: files | {TABLE: files[TABLE][:40]},
    "table not UTF-8": lambda files: files | {TABLE: files[TABLE] + b"\xff\xfe"},
    "one list gone": lambda files: {name: content for name, content in files.items() if name != LISTS[1]},
    "finding misspelled": lambda files: files | {TABLE: files[TABLE].replace(FINDING.encode(), b"Pneumona")},
    "finding in no row": lambda files: files | {TABLE: files[TABLE].replace(FINDING.encode(), b"Effusion")},
    "a patient in both lists": _in_both_lists,
    "no images": lambda files: {name: content for name, content in files.items() if not name.endswith(".png")},
    "empty images": _empty_images,
    "truncated table and lists": lambda files: files | {name: files[name][:30] for name in (TABLE, *LISTS)},
}
