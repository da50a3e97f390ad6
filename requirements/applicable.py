"""Prints what of a lock on standard input is meant for this Python and machine; a bill of materials names no more."""

import re
import sys

from packaging.requirements import Requirement


def applicable(lock: str) -> list[str]:
    """The requirements, hashes included, whose markers hold here."""
    lines = re.sub(r" *\\\n *", " ", lock).splitlines()
    requirements = [line for line in lines if line and not line.startswith("#")]
    return [line for line in requirements if _holds(Requirement(line.partition(" --hash")[0]))]


def _holds(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate()


if __name__ == "__main__":
    print("\n".join(applicable(sys.stdin.read())))
