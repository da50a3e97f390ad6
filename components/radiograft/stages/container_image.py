"""The one place that names the container image of every task; set RADIOGRAFT_TRAINER_IMAGE when compiling."""

import os
import re

TRAINER_IMAGE = os.environ.get("RADIOGRAFT_TRAINER_IMAGE", "radiograft/trainer:0.1.0")


def is_pinned(reference: str) -> bool:
    """Whether an image is named by digest. Behind a tag another image may come to stand: then nodes differ in what they
    run, and KFP's cache hands out results of other code."""
    return re.search(r"@sha256:[0-9a-f]{64}$", reference) is not None
