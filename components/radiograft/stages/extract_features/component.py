"""KFP interface of the extract-features stage."""

from kfp import dsl

from radiograft.stages.container_image import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def extract_features(
    shards: dsl.Input[dsl.Dataset],
    features: dsl.Output[dsl.Dataset],
    feature_model: dsl.Output[dsl.Model],
    checkpoint_root: str,
    run_id: str,
    task_name: str,
    overrides: str,
    settings: str,
) -> None:
    """Runs the frozen backbone once and trains a new classifier on its features; `overrides` are those of a trial."""
    from pathlib import Path

    from radiograft.config import ExtractFeatures
    from radiograft.stages.extract_features import task
    from radiograft.stages.runtime import stage
    from radiograft.training.checkpoints import Checkpoints

    with stage("extract_features", features.path, feature_model.path, reads=[shards.path]):
        checkpoints = Checkpoints.of_task(checkpoint_root, run_id, task_name)
        model = Path(feature_model.path)
        task.run(
            ExtractFeatures.from_json(settings).with_overrides(overrides),
            Path(shards.path),
            Path(features.path),
            model,
            model / "logs",
            checkpoints,
        )
