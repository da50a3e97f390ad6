"""Checks the locked versions for known vulnerabilities, offline: `make audit ADVISORIES=path`.

The advisories are in OSV's format (https://ossf.github.io/osv-schema): a file with one advisory or a list, a folder of
such files, or OSV's archive for PyPI, all.zip. pip-audit is not used because it needs a server.
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
    """A locked package and its lock file."""

    lock: str
    name: str
    version: str


def pins() -> list[Pin]:
    """Returns the pinned packages of all lock files."""
    return [
        Pin(lock.name, canonicalize_name(name), version)
        for lock in sorted(HERE.glob("*.txt"))
        for name, version in PINNED.findall(lock.read_text())
    ]


def advisories(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the advisories of a file, a folder or a .zip archive."""
    if path.is_dir():
        texts: list[str | bytes] = [file.read_text() for file in sorted(path.rglob("*.json"))]
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            texts = [archive.read(name) for name in sorted(archive.namelist()) if name.endswith(".json")]
    else:
        texts = [path.read_text()]
    for text in texts:
        content = json.loads(text)
        yield from content if isinstance(content, list) else [content]


def affects(advisory: dict[str, Any], pin: Pin) -> bool:
    """Returns whether an advisory that is not withdrawn lists the version or has a range that includes it."""
    if advisory.get("withdrawn"):
        return False
    for affected in advisory.get("affected", []):
        package = affected.get("package", {})
        if package.get("ecosystem") != "PyPI" or canonicalize_name(package.get("name", "")) != pin.name:
            continue
        ranges = [range_["events"] for range_ in affected.get("ranges", []) if range_.get("type") == "ECOSYSTEM"]
        if pin.version in affected.get("versions", []) or any(_in_range(events, pin.version) for events in ranges):
            return True
    return False


def _in_range(events: list[dict[str, str]], version: str) -> bool:
    """Evaluates a range with OSV's algorithm: the last event at or before the version decides.

    A `last_affected` event takes effect only after its own version.
    """
    in_range, target = False, Version(version)
    kinds = {"introduced": (0, True), "last_affected": (1, False), "fixed": (0, False)}
    parsed = [(_parse(text), *kinds[kind]) for event in events for kind, text in event.items() if kind in kinds]
    for event_version, takes_effect_after, is_affected in sorted(parsed):
        if event_version < target or (event_version == target and not takes_effect_after):
            in_range = is_affected
    return in_range


def _parse(text: str) -> Version:
    try:
        return Version("0.dev0" if text == "0" else text)  # OSV's 0 precedes every version
    except InvalidVersion:
        return Version("0.dev0")


def main(path: str) -> int:
    """Prints the affected packages; returns 1 if there are any."""
    if not path:
        print("skipped: ADVISORIES is unset; set it to a file, a folder or an all.zip of OSV's advisories for PyPI")
        return 0
    locked, known = pins(), list(advisories(Path(path)))
    hits = [(pin, advisory) for advisory in known for pin in locked if affects(advisory, pin)]
    for pin, advisory in hits:
        print(f"{pin.lock}: {pin.name} {pin.version}: {advisory['id']} {advisory.get('summary', '')}".rstrip())
    print(f"{len(locked)} locked versions, {len(known)} advisories, {len(hits)} hits")
    return int(bool(hits))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
