"""The KFP interface of the preprocess stage."""

from kfp import dsl

from components.image import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def preprocess(
    catalogue: dsl.Input[dsl.Dataset],
    shards: dsl.Output[dsl.Dataset],
    image_augmentation: str,
    image_size: int,
    train_seed: int,
) -> None:
    """Decodes, resizes and stores the pictures; writes the augmentation as data and a contact sheet."""
    from pathlib import Path

    from components.config import Preprocess
    from components.preprocess import task
    from components.stage import stage

    with stage("preprocess", shards.path):
        settings = Preprocess.of(locals())
        task.run(settings, Path(catalogue.path), Path(shards.path))
