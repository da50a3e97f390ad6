"""Prints the requirements of a lock file on standard input that apply to this Python and platform."""

import re
import sys

from packaging.requirements import Requirement


def applicable(lock: str) -> list[str]:
    """Returns the requirements, with their hashes, whose environment markers apply here."""
    lines = re.sub(r" *\\\n *", " ", lock).splitlines()
    requirements = [line for line in lines if line and not line.startswith("#")]
    return [line for line in requirements if _applies(Requirement(line.partition(" --hash")[0]))]


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate()


if __name__ == "__main__":
    print("\n".join(applicable(sys.stdin.read())))
