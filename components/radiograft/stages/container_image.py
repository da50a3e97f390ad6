"""The container image of all tasks; set RADIOGRAFT_TRAINER_IMAGE when compiling to use another one."""

import os
import re

TRAINER_IMAGE = os.environ.get("RADIOGRAFT_TRAINER_IMAGE", "radiograft/trainer:0.1.0")


def is_pinned(reference: str) -> bool:
    """Returns whether an image reference has a digest.

    A tag can move to another image. Nodes may then run different code, and KFP may reuse cached results of other code.
    """
    return re.search(r"@sha256:[0-9a-f]{64}$", reference) is not None
