"""The KFP interface of the publish stage."""

from kfp import dsl

from radiograft.stages.container_image import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def publish(
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    report: dsl.Input[dsl.HTML],
    tensorboard: dsl.Input[dsl.Artifact],
    version: dsl.Output[dsl.Artifact],
    outcome: dsl.Output[dsl.Metrics],
    run_id: str,
    settings: str,
) -> None:
    """Publishes the fine-tuned model as a numbered version and promotes it to production if it passed the gate."""
    from pathlib import Path

    from radiograft.config import Publish
    from radiograft.stages.publish import task
    from radiograft.stages.runtime import stage

    with stage("publish", version.path, reads=[model.path, evaluation.path, tensorboard.path]):
        inputs = task.PublishInputs(*(Path(artifact.path) for artifact in (model, evaluation, report)))
        logs = (Path(tensorboard.path),)
        task.run(Publish.from_json(settings), inputs, run_id, Path(version.path), logs).log_to(outcome)
