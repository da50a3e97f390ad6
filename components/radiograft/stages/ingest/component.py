"""The KFP component of the ingest stage.

It takes the settings of all stages: an invalid setting fails here instead of after hours of training, and
`data_changed` compares all settings with those of the production version.
"""

from kfp import dsl

from radiograft.stages.container_image import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def ingest(
    catalog: dsl.Output[dsl.Dataset],
    run_id: str,
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
    evaluate_bootstrap_samples: int,
    evaluate_min_patients: int,
    evaluate_operating_point: str,
    image_augmentation: str,
    image_size: int,
    model_backbone: str,
    model_cut_off: str,
    model_dense_units: int,
    model_dropout: float,
    model_feature_layer: str,
    model_l2: float,
    model_random_baseline: bool,
    model_weights: str,
    model_weights_md5: str,
    preprocess_workers: int,
    gate_min_auroc: str,
    gate_noninferiority_margin: float,
    publish_model_name: str,
    publish_registry: str,
    train_augmentation: str,
    train_batch_size: int,
    train_feature_epochs: int,
    train_feature_learning_rate: float,
    train_fine_tune_epochs: int,
    train_fine_tune_learning_rate: float,
    train_optimizer: str,
    train_patience: int,
    train_precision: str,
    train_recipe: str,
    train_seed: int,
    train_cached_augmentations: int,
    train_trigger: str,
) -> bool:
    """Catalogs the images with their labels and splits them by patient. Returns whether the run must train."""
    from pathlib import Path

    from radiograft.config import validate_settings
    from radiograft.stages.ingest import task
    from radiograft.stages.runtime import stage

    with stage("ingest", catalog.path):
        return task.run_with_all_settings(validate_settings(locals()), Path(catalog.path), run_id)
