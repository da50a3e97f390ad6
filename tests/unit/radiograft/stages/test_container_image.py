"""Image references with a digest are pinned; tags are not."""

import pytest

from radiograft.stages.container_image import is_pinned

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("reference", "pinned"),
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
def test_is_pinned_is_true_for_digest_only(reference: str, pinned: bool) -> None:
    assert is_pinned(reference) is pinned
