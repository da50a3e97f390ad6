"""How an image is named: fixed by its digest, or by a tag that may come to stand for another one."""

import pytest

from radiograft.stages.container_image import is_pinned

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("reference", "fixed"),
    [
        (f"radiograft/trainer@{DIGEST}", True),
        (f"registry.example:5000/team/trainer:0.1.0@{DIGEST}", True),
        ("radiograft/trainer:0.1.0", False),
        ("radiograft/trainer:latest", False),
        ("radiograft/trainer", False),
        (f"radiograft/trainer@{DIGEST[:-1]}", False),
        (f"radiograft/trainer@{DIGEST}-cpu", False),
    ],
)
def test_only_a_digest_fixes_an_image(reference: str, fixed: bool) -> None:
    assert is_pinned(reference) is fixed
