"""The tiers of the test suite: which markers a test gets by its place and its fixtures."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import PurePath

FOLDER_MARKERS = {"cluster": "cluster", "fuzz": "fuzz", "images": "images"}
FIXTURE_MARKERS = {"test_data": "real_data"}

# Folders and files, relative to tests/, whose tests start processes, compile pipelines, or build or train networks.
SLOW_PATHS = (
    "benchmarks/test_gpu.py",
    "benchmarks/test_nih_tables.py",
    "chaos",
    "cluster",
    "e2e",
    "fuzz",
    "images/test_in_the_manifests.py",
    "integration",
    "soak",
    "unit/radiograft/backbones",
    "unit/radiograft/data/synthetic",
    "unit/radiograft/drift/test_comparison.py",
    "unit/radiograft/drift/test_monitor.py",
    "unit/radiograft/drift/test_two_sample_tests.py",
    "unit/radiograft/evaluation/test_promotion.py",
    "unit/radiograft/explain/test_class_activation.py",
    "unit/radiograft/models/test_artifact.py",
    "unit/radiograft/models/test_backbone.py",
    "unit/radiograft/models/test_feature_taps.py",
    "unit/radiograft/models/test_fused_batchnorm.py",
    "unit/radiograft/models/test_graph_split.py",
    "unit/radiograft/models/test_heads.py",
    "unit/radiograft/models/test_jax_backend.py",
    "unit/radiograft/models/test_precision.py",
    "unit/radiograft/models/test_super_resolution.py",
    "unit/radiograft/reporting/test_report_in_browser.py",
    "unit/radiograft/search",
    "unit/radiograft/serving/test_sync.py",
    "unit/radiograft/stages/extract_features",
    "unit/radiograft/stages/fine_tune",
    "unit/radiograft/stages/preprocess/test_defects.py",
    "unit/radiograft/stages/preprocess/test_workers.py",
    "unit/radiograft/storage/test_faults.py",
    "unit/radiograft/storage/test_interrupted.py",
    "unit/radiograft/training",
    "unit/radiograft_pipelines/cli/test_models.py",
    "unit/radiograft_pipelines/cli/test_weights.py",
    "unit/radiograft_pipelines/cluster/test_profile.py",
    "unit/radiograft_pipelines/cluster/test_schedules.py",
    "unit/radiograft_pipelines/cluster/test_submit.py",
    "unit/radiograft_pipelines/cluster/test_tensorboard.py",
    "unit/radiograft_pipelines/dags",
    "unit/radiograft_pipelines/local",
    "unit/radiograft_pipelines/test_compile.py",
)
# Fixtures that train a model, run a pipeline or start containers.
SLOW_FIXTURES = {"evaluation", "feature_extraction", "fine_tuning", "podman", "two_runs"}


def markers(path: PurePath, fixtures: Collection[str]) -> set[str]:
    """Returns the names of the markers of a test.

    Args:
        path: the test's file, relative to tests/.
        fixtures: the names of all fixtures that the test uses, directly or through others.
    """
    named = {FOLDER_MARKERS.get(path.parts[0]), *map(FIXTURE_MARKERS.get, fixtures)} - {None}
    slow = any(path.is_relative_to(place) for place in SLOW_PATHS) or not SLOW_FIXTURES.isdisjoint(fixtures)
    return {str(name) for name in named} | ({"slow"} if slow else set())
