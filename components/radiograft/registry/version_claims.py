"""Assigns version numbers to runs. A number is claimed by one run and never reused.

A claim is the file `<registry>/<model>/claims/<version>.json`, which only one of several concurrent writers can create.
A claim without a version belongs to a publisher that is running or was killed. Other runs skip its number, and the next
attempt of the same run completes it.
"""

from __future__ import annotations

import itertools
import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from radiograft import storage
from radiograft.registry import production, versions
from radiograft.utils import json_io

NAME = re.compile(r"[1-9]\d*\.json")


class Claim(NamedTuple):
    """A version number, the run that owns it, and the values that all attempts of that run must share.

    Attributes:
        created: ISO 8601 time of the claim.
        parent: the production version at that time.
    """

    number: int
    run_id: str
    created: str
    parent: int | None


def claim_version(registry: str, model: str, run_id: str) -> Claim:
    """Claims a new version number, or returns the claim of an earlier attempt of this run.

    Raises:
        ValueError: the file of a claim is malformed.
    """
    folder = storage.join(registry, model, "claims")
    # Listed before the claims, so that each of these numbers has a claim in the list that follows.
    published = versions.list_versions(registry, model)
    uris = [entry.uri for entry in versions.files_below(folder) if NAME.fullmatch(entry.name)]
    with ThreadPoolExecutor(storage.PARALLEL_TRANSFERS) as pool:
        claims = list(pool.map(_read_claim, uris))
    for claim in claims:
        if claim.run_id == run_id:
            return claim
    champion = production.read_production(registry, model)
    taken = {claim.number for claim in claims}
    free = (number for number in itertools.count(max(published, default=0) + 1) if number not in taken)
    for number in free:
        uri = storage.join(folder, f"{number}.json")
        claim = Claim(number, run_id, production.utc_now(), champion.version if champion else None)
        try:
            storage.swap_content(uri, json.dumps(claim._asdict()).encode(), None)
        except FileExistsError:  # claimed by another run, or by another live attempt of this run
            claim = _read_claim(uri)
        if claim.run_id == run_id:
            return claim
    raise AssertionError("unreachable: itertools.count does not end")


def _read_claim(uri: str) -> Claim:
    fields = json_io.parse_json_object(storage.read_bytes(uri), uri)
    if fields.keys() != set(Claim._fields) or not isinstance(fields["number"], int):
        raise ValueError(f"{uri} must contain the fields {', '.join(Claim._fields)}, got {', '.join(fields)}")
    return Claim(**fields)
