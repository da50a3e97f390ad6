"""KFP interface of the fine-tune stage."""

from kfp import dsl

from radiograft.stages.container_image import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def fine_tune(
    shards: dsl.Input[dsl.Dataset],
    feature_model: dsl.Input[dsl.Model],
    model: dsl.Output[dsl.Model],
    logs: dsl.Output[dsl.Artifact],
    checkpoint_root: str,
    run_id: str,
    task_name: str,
    model_cut_off: str,
    train_augmentation: str,
    train_batch_size: int,
    train_fine_tune_epochs: int,
    train_fine_tune_learning_rate: float,
    train_optimizer: str,
    train_patience: int,
    train_precision: str,
    train_recipe: str,
    train_seed: int,
    train_cached_augmentations: int,
) -> None:
    """Fine-tunes the network from the cut-off layer with real-time augmentation."""
    from pathlib import Path

    from radiograft.config import FineTune
    from radiograft.stages.fine_tune import task
    from radiograft.stages.runtime import stage
    from radiograft.training.checkpoints import Checkpoints

    with stage("fine_tune", model.path, logs.path, reads=[shards.path, feature_model.path]):
        settings = FineTune.of(locals())
        checkpoints = Checkpoints.of_task(checkpoint_root, run_id, task_name)
        task.run(settings, Path(shards.path), Path(feature_model.path), Path(model.path), Path(logs.path), checkpoints)
