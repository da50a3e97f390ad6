"""KFP interface of the fine-tune stage."""

from kfp import dsl

from radiograft.stages.container_image import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def fine_tune(
    shards: dsl.Input[dsl.Dataset],
    feature_model: dsl.Input[dsl.Model],
    model: dsl.Output[dsl.Model],
    checkpoint_root: str,
    run_id: str,
    task_name: str,
    overrides: str,
    settings: str,
) -> None:
    """Fine-tunes the network from the cut-off layer with real-time augmentation; `overrides` are those of a trial."""
    from pathlib import Path

    from radiograft.config import FineTune
    from radiograft.stages.fine_tune import task
    from radiograft.stages.runtime import stage
    from radiograft.training.checkpoints import Checkpoints

    with stage("fine_tune", model.path, reads=[shards.path, feature_model.path]):
        checkpoints = Checkpoints.of_task(checkpoint_root, run_id, task_name)
        chosen = FineTune.from_json(settings).with_overrides(overrides)
        output = Path(model.path)
        task.run(chosen, Path(shards.path), Path(feature_model.path), output, output / "logs", checkpoints)
