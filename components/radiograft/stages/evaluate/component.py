"""The KFP interface of the evaluate stage."""

from kfp import dsl

from radiograft.stages.container_image import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def evaluate(
    shards: dsl.Input[dsl.Dataset],
    features: dsl.Input[dsl.Dataset],
    feature_model: dsl.Input[dsl.Model],
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    curves: dsl.Output[dsl.ClassificationMetrics],
    report: dsl.Output[dsl.HTML],
    tensorboard: dsl.Output[dsl.Artifact],
    mlpipeline_ui_metadata: dsl.Output[dsl.Artifact],
    run_id: str,
    settings: str,
) -> None:
    """Evaluates both strategies, decides whether the model may replace the production model, and writes a report."""
    from pathlib import Path

    from radiograft.config import Evaluate
    from radiograft.evaluation.predictions import EvaluateInputs
    from radiograft.reporting.tensorboard_card import write_card
    from radiograft.stages.evaluate import task
    from radiograft.stages.runtime import stage

    with stage(
        "evaluate",
        evaluation.path,
        report.path,
        tensorboard.path,
        mlpipeline_ui_metadata.path,
        reads=[shards.path, features.path, feature_model.path, model.path],
    ):
        inputs = EvaluateInputs(*(Path(artifact.path) for artifact in (shards, features, feature_model, model)))
        outputs = (Path(artifact.path) for artifact in (evaluation, report, tensorboard))
        task.run(Evaluate.from_json(settings), inputs, run_id, *outputs).log_to(metrics, curves)
        write_card(tensorboard.uri, Path(mlpipeline_ui_metadata.path))
