"""Which run may write which version: numbers are claimed one by one, and never shared or given anew.

A claim is the file `<registry>/<model>/claims/<version>.json`, which one of racing writers can create. One without a
version is a publisher at work or one that died: the others step over it, and its own next attempt completes it.
"""

from __future__ import annotations

import itertools
import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from radiograft import storage
from radiograft.registry import production
from radiograft.registry import versions as registry
from radiograft.storage import conditional_write
from radiograft.utils import json_io

NAME = re.compile(r"[1-9]\d*\.json")


class Claim(NamedTuple):
    """A version's number, whose it is, and what all attempts of that run must agree on.

    Attributes:
        created: ISO 8601 time of the claim.
        parent: the version in production at that time.
    """

    number: int
    run_id: str
    created: str
    parent: int | None


def claim_version(place: str, model: str, run_id: str) -> Claim:
    """The version that this run may write: a new one, or the one it claimed in an earlier attempt.

    Raises:
        ValueError: a claim is none.
    """
    folder = storage.join(place, model, "claims")
    written = registry.list_versions(
        place, model
    )  # before the claims: so every number up to there is known to be taken
    uris = [each.uri for each in registry.files_below(folder) if NAME.fullmatch(each.name)]
    with ThreadPoolExecutor(storage.PARALLEL_TRANSFERS) as pool:
        claims = list(pool.map(_read, uris))
    for found in claims:
        if found.run_id == run_id:
            return found
    champion = production.read_production(place, model)
    taken = {found.number for found in claims}
    free = (number for number in itertools.count(max(written, default=0) + 1) if number not in taken)
    for number in free:
        uri = storage.join(folder, f"{number}.json")
        new = Claim(number, run_id, production.utc_now(), champion.version if champion else None)
        try:
            conditional_write.swap_content(uri, json.dumps(new._asdict()).encode(), None)
        except FileExistsError:  # another run was quicker, or another live attempt of this one
            new = _read(uri)
        if new.run_id == run_id:
            return new
    raise AssertionError("unreachable: itertools.count does not end")


def _read(uri: str) -> Claim:
    found = json_io.parse_json_object(storage.read_bytes(uri), uri)
    if found.keys() != set(Claim._fields) or not isinstance(found["number"], int):
        raise ValueError(f"{uri} must tell {', '.join(Claim._fields)} of a claim, got {', '.join(found)}")
    return Claim(**found)
