"""Compares the locked versions with known vulnerabilities: `make audit ADVISORIES=path`. Nothing is fetched.

The advisories are OSV's (https://ossf.github.io/osv-schema): a file with one or a list of them, a folder of such files,
or OSV's own archive for PyPI, all.zip. pip-audit asks a server for each package, and cannot do without one.
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

HERE = Path(__file__).parent
PINNED = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)", re.MULTILINE)


class Pin(NamedTuple):
    """A locked package and the lock that has it."""

    lock: str
    name: str
    version: str


def pins() -> list[Pin]:
    """Every version of every lock."""
    return [
        Pin(lock.name, canonicalize_name(name), version)
        for lock in sorted(HERE.glob("*.txt"))
        for name, version in PINNED.findall(lock.read_text())
    ]


def advisories(place: Path) -> Iterator[dict[str, Any]]:
    """The advisories of a file, a folder or a .zip."""
    if place.is_dir():
        texts: list[str | bytes] = [path.read_text() for path in sorted(place.rglob("*.json"))]
    elif place.suffix == ".zip":
        with zipfile.ZipFile(place) as archive:
            texts = [archive.read(name) for name in sorted(archive.namelist()) if name.endswith(".json")]
    else:
        texts = [place.read_text()]
    for text in texts:
        found = json.loads(text)
        yield from found if isinstance(found, list) else [found]


def affects(advisory: dict[str, Any], pin: Pin) -> bool:
    """Whether an advisory names the version, by itself or by a range, and was not withdrawn."""
    for affected in advisory.get("affected", []):
        package = affected.get("package", {})
        known = package.get("ecosystem") == "PyPI" and canonicalize_name(package.get("name", "")) == pin.name
        ranges = (each["events"] for each in affected.get("ranges", []) if each.get("type") == "ECOSYSTEM")
        if known and (
            pin.version in affected.get("versions", []) or any(_within(each, pin.version) for each in ranges)
        ):
            return not advisory.get("withdrawn")
    return False


def _within(events: list[dict[str, str]], version: str) -> bool:
    """OSV's own algorithm: the last event at or before the version decides; `last_affected` still is."""
    inside, wanted = False, Version(version)
    kinds = {"introduced": (0, True), "last_affected": (1, False), "fixed": (0, False)}
    parsed = [(_version(text), *kinds[kind]) for event in events for kind, text in event.items() if kind in kinds]
    for place, beyond, opens in sorted(parsed):
        if place < wanted or (place == wanted and not beyond):
            inside = opens
    return inside


def _version(text: str) -> Version:
    try:
        return Version("0.dev0" if text == "0" else text)  # OSV's 0 comes before every version
    except InvalidVersion:
        return Version("0.dev0")


def main(place: str) -> int:
    """Prints what is affected; 1 where anything is."""
    if not place:
        print("skipped: ADVISORIES is unset; it takes a file, a folder or an all.zip of OSV's advisories for PyPI")
        return 0
    locked, known = pins(), list(advisories(Path(place)))
    hits = [(pin, each) for each in known for pin in locked if affects(each, pin)]
    for pin, each in hits:
        print(f"{pin.lock}: {pin.name} {pin.version}: {each['id']} {each.get('summary', '')}".rstrip())
    print(f"{len(locked)} locked versions, {len(known)} advisories, {len(hits)} hits")
    return int(bool(hits))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
