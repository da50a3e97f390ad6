"""The KFP interface of the cut-off search over pods: what is fanned out, and what becomes of the results."""

from kfp import dsl

from radiograft.stages.container_image import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def list_cut_offs(feature_model: dsl.Input[dsl.Model], model_cut_off: str) -> list[str]:
    """Names the layers that fine-tuning is tried from."""
    from pathlib import Path

    from radiograft.stages.runtime import stage
    from radiograft.stages.select_model import task

    with stage("list_cut_offs", reads=[feature_model.path]):
        return task.list_cut_offs(model_cut_off, Path(feature_model.path))


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def choose_model(models: dsl.Input[list[dsl.Model]], model: dsl.Output[dsl.Model]) -> None:
    """Hands on the candidate that is best on validation, with the table of all."""
    from pathlib import Path

    from radiograft.stages.runtime import stage
    from radiograft.stages.select_model import task

    with stage("choose_model", model.path, reads=[each.path for each in models]):
        task.select_model([Path(each.path) for each in models], Path(model.path))
