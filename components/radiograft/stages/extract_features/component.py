"""KFP interface of the extract-features stage."""

from kfp import dsl

from radiograft.stages.container_image import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def extract_features(
    shards: dsl.Input[dsl.Dataset],
    features: dsl.Output[dsl.Dataset],
    feature_model: dsl.Output[dsl.Model],
    logs: dsl.Output[dsl.Artifact],
    checkpoint_root: str,
    run_id: str,
    task_name: str,
    model_backbone: str,
    model_cut_off: str,
    model_dense_units: int,
    model_dropout: float,
    model_feature_layer: str,
    model_l2: float,
    model_random_baseline: bool,
    model_weights: str,
    model_weights_md5: str,
    train_batch_size: int,
    train_feature_epochs: int,
    train_feature_learning_rate: float,
    train_optimizer: str,
    train_patience: int,
    train_precision: str,
    train_recipe: str,
    train_seed: int,
) -> None:
    """Runs the frozen backbone once and trains a new classifier on its features."""
    from pathlib import Path

    from radiograft.config import ExtractFeatures
    from radiograft.stages.extract_features import task
    from radiograft.stages.runtime import stage
    from radiograft.training.checkpoints import Checkpoints

    with stage("extract_features", features.path, feature_model.path, logs.path, reads=[shards.path]):
        settings = ExtractFeatures.of(locals())
        checkpoints = Checkpoints.of_task(checkpoint_root, run_id, task_name)
        task.run(
            settings, Path(shards.path), Path(features.path), Path(feature_model.path), Path(logs.path), checkpoints
        )
