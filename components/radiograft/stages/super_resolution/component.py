"""KFP interface of the super-resolution stage: training, evaluation and publishing of a generator."""

from kfp import dsl

from radiograft.stages.container_image import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def train_super_resolution(
    shards: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    checkpoint_root: str,
    run_id: str,
    backbone_settings: str,
    settings: str,
) -> None:
    """Trains a generator on crops of the images; `backbone_settings` are those of feature extraction."""
    from pathlib import Path

    from radiograft.config import ExtractFeatures, SuperResolution
    from radiograft.stages.runtime import stage
    from radiograft.stages.super_resolution import task
    from radiograft.training.checkpoints import Checkpoints

    with stage("train_super_resolution", model.path, reads=[shards.path]):
        checkpoints = Checkpoints.of_task(checkpoint_root, run_id, "train-super-resolution")
        chosen, base = SuperResolution.from_json(settings), ExtractFeatures.from_json(backbone_settings)
        task.train(chosen, base, Path(shards.path), Path(model.path), checkpoints)


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def evaluate_super_resolution(
    shards: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    settings: str,
) -> None:
    """Compares a generator with bicubic interpolation on the test images and writes a report."""
    from pathlib import Path

    from radiograft.config import Evaluate
    from radiograft.stages.runtime import stage
    from radiograft.stages.super_resolution import task

    with stage("evaluate_super_resolution", evaluation.path, report.path, reads=[shards.path, model.path]):
        inputs = (Path(artifact.path) for artifact in (shards, model, evaluation, report))
        for name, value in task.evaluate(Evaluate.from_json(settings), *inputs).items():
            metrics.log_metric(name, value)


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def publish_super_resolution(
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    report: dsl.Input[dsl.HTML],
    version: dsl.Output[dsl.Artifact],
    run_id: str,
    settings: str,
) -> None:
    """Publishes a generator as a numbered version of its own kind."""
    from pathlib import Path

    from radiograft.config import Publish
    from radiograft.stages.runtime import stage
    from radiograft.stages.super_resolution import task

    with stage("publish_super_resolution", version.path, reads=[model.path, evaluation.path]):
        folders = Path(model.path), Path(evaluation.path), Path(report.path)
        task.publish(Publish.from_json(settings), *folders, run_id, Path(version.path))
