"""The KFP interface of the ingest stage."""

from kfp import dsl

from components.image import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def ingest(
    catalogue: dsl.Output[dsl.Dataset],
    data_deidentify: str,
    data_format: str,
    data_labels: str,
    data_negatives: str,
    data_phantom_patients: int,
    data_policy: str,
    data_source: str,
    data_table: str,
    data_test_fraction: float,
    data_validation_fraction: float,
    publish_floors: str,
    train_seed: int,
) -> None:
    """Lists the pictures, reads their labels and splits them by patient."""
    from pathlib import Path

    from components.config import Ingest
    from components.ingest import task
    from components.stage import stage

    with stage("ingest", catalogue.path):
        settings = Ingest.of(locals())
        task.run(settings, Path(catalogue.path))
