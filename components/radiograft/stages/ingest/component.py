"""The KFP component of the ingest stage, the first of every run.

It resolves the settings of all stages: an invalid setting fails here instead of after hours of training. It hands each
stage its own settings as one string, so that KFP's cache distinguishes no more than it must.
"""

from kfp import dsl

from radiograft.stages.container_image import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def ingest(
    catalog: dsl.Output[dsl.Dataset],
    resolved_settings: dsl.Output[dsl.Markdown],
    registry: dsl.OutputPath(str),  # type: ignore[valid-type]
    preprocess_settings: dsl.OutputPath(str),  # type: ignore[valid-type]
    extract_features_settings: dsl.OutputPath(str),  # type: ignore[valid-type]
    fine_tune_settings: dsl.OutputPath(str),  # type: ignore[valid-type]
    evaluate_settings: dsl.OutputPath(str),  # type: ignore[valid-type]
    publish_settings: dsl.OutputPath(str),  # type: ignore[valid-type]
    search_settings: dsl.OutputPath(str),  # type: ignore[valid-type]
    super_resolution_settings: dsl.OutputPath(str),  # type: ignore[valid-type]
    run_id: str,
    pipeline: str,
    settings: str,
    overrides: str,
    data_source: str,
    data_format: str,
    data_labels: str,
    publish_registry: str,
    publish_model_name: str,
    model_backbone: str,
    model_weights: str,
    model_cut_off: str,
    image_size: str,
    train_fine_tune_epochs: str,
    train_batch_size: str,
    train_seed: str,
) -> bool:
    """Resolves all settings, catalogs the images with their labels and splits them by patient.

    Returns whether data or settings changed since the production version.
    """
    from pathlib import Path

    from radiograft.stages.ingest import resolve, task
    from radiograft.stages.runtime import stage

    fields = locals()
    with stage("ingest", catalog.path, resolved_settings.path):
        resolved = resolve.resolve(fields, pipeline, Path(resolved_settings.path))
        resolve.write_stage_settings(resolved, fields)
        return task.run_with_all_settings(resolved, Path(catalog.path), run_id, pipeline)
