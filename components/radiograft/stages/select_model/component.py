"""KFP interface of the searches, in which each trial runs in its own pod. A trial is a set of overrides."""

from kfp import dsl

from radiograft.stages.container_image import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def list_cut_offs(feature_model: dsl.Input[dsl.Model], settings: str) -> list[str]:
    """Lists the trials of a cut-off search: one for each layer from which fine-tuning is tried."""
    from pathlib import Path

    from radiograft.config import FineTune
    from radiograft.stages.runtime import stage
    from radiograft.stages.select_model import task

    with stage("list_cut_offs", reads=[feature_model.path]):
        return task.list_cut_offs(FineTune.from_json(settings).model_cut_off, Path(feature_model.path))


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def list_backbones(settings: str) -> list[str]:
    """Lists the trials of a backbone comparison: one for each backbone, with its cut-off."""
    from radiograft.config import ExtractFeatures
    from radiograft.stages.runtime import stage
    from radiograft.stages.select_model import task

    with stage("list_backbones"):
        return task.list_backbones(ExtractFeatures.from_json(settings))


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def choose_backbone(
    all_features: dsl.Input[list[dsl.Dataset]],
    feature_models: dsl.Input[list[dsl.Model]],
    models: dsl.Input[list[dsl.Model]],
    features: dsl.Output[dsl.Dataset],
    feature_model: dsl.Output[dsl.Model],
    model: dsl.Output[dsl.Model],
) -> None:
    """Selects the backbone with the best fine-tuned model on validation, and keeps what all of them reached."""
    from pathlib import Path

    from radiograft.stages.runtime import stage
    from radiograft.stages.select_model import task
    from radiograft.training.search.comparison import BackboneTrial

    with stage(
        "choose_backbone",
        features.path,
        feature_model.path,
        model.path,
        reads=[artifact.path for artifact in (*all_features, *feature_models, *models)],
    ):
        folders = zip(all_features, feature_models, models, strict=True)
        trials = [BackboneTrial(*(Path(artifact.path) for artifact in trial)) for trial in folders]
        task.select_backbone(trials, BackboneTrial(Path(features.path), Path(feature_model.path), Path(model.path)))


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def choose_model(models: dsl.Input[list[dsl.Model]], model: dsl.Output[dsl.Model]) -> None:
    """Selects the best trial on validation and keeps the metrics of all trials."""
    from pathlib import Path

    from radiograft.stages.runtime import stage
    from radiograft.stages.select_model import task

    with stage("choose_model", model.path, reads=[trial.path for trial in models]):
        task.select_model([Path(trial.path) for trial in models], Path(model.path))
