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
    logs: dsl.Output[dsl.Artifact],
    tensorboard: dsl.Output[dsl.Markdown],
    mlpipeline_ui_metadata: dsl.Output[dsl.Artifact],
    evaluate_bootstrap_samples: int,
    evaluate_min_patients: int,
    evaluate_operating_point: str,
    gate_min_auroc: str,
    gate_noninferiority_margin: float,
    publish_model_name: str,
    publish_registry: str,
    train_seed: int,
    run_id: str,
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
        logs.path,
        tensorboard.path,
        mlpipeline_ui_metadata.path,
        reads=[shards.path, features.path, feature_model.path, model.path],
    ):
        settings = Evaluate.of(locals())
        inputs = EvaluateInputs(*(Path(artifact.path) for artifact in (shards, features, feature_model, model)))
        results = task.run(settings, inputs, run_id, Path(evaluation.path), Path(report.path), Path(logs.path))
        results.log_to(metrics, curves)
        write_card(logs.uri, run_id, Path(tensorboard.path), Path(mlpipeline_ui_metadata.path))
