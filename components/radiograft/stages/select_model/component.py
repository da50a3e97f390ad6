"""KFP interface of the cut-off search, in which each trial runs in its own pod."""

from kfp import dsl

from radiograft.stages.container_image import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def list_cut_offs(feature_model: dsl.Input[dsl.Model], settings: str) -> list[str]:
    """Lists the layers from which fine-tuning is tried."""
    from pathlib import Path

    from radiograft.config import FineTune
    from radiograft.stages.runtime import stage
    from radiograft.stages.select_model import task

    with stage("list_cut_offs", reads=[feature_model.path]):
        return task.list_cut_offs(FineTune.from_json(settings).model_cut_off, Path(feature_model.path))


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def choose_model(models: dsl.Input[list[dsl.Model]], model: dsl.Output[dsl.Model]) -> None:
    """Selects the best trial on validation and keeps the metrics of all trials."""
    from pathlib import Path

    from radiograft.stages.runtime import stage
    from radiograft.stages.select_model import task

    with stage("choose_model", model.path, reads=[trial.path for trial in models]):
        task.select_model([Path(trial.path) for trial in models], Path(model.path))
