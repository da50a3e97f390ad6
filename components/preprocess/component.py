"""The KFP interface of the preprocess stage."""

from kfp import dsl

from components.image import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def preprocess(
    catalogue: dsl.Input[dsl.Dataset],
    shards: dsl.Output[dsl.Dataset],
    data_report: dsl.Output[dsl.HTML],
    data_policy: str,
    image_augmentation: str,
    image_size: int,
    train_seed: int,
) -> None:
    """Decodes, resizes and stores the pictures; writes the augmentation as data, a contact sheet, the data report."""
    from pathlib import Path

    from components.config import Preprocess
    from components.preprocess import task
    from components.stage import stage
    from components.validation import page

    with stage("preprocess", shards.path, data_report.path):
        settings = Preprocess.of(locals())
        task.run(settings, Path(catalogue.path), Path(shards.path))
        page.write(Path(shards.path), Path(data_report.path))
