"""KFP interface of the preprocess stage: workers that run in separate pods, and a step that merges their shards."""

from kfp import dsl

from radiograft.stages.container_image import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def list_workers(settings: str) -> list[int]:
    """Returns the worker numbers, one per preprocess pod."""
    from radiograft.config import Preprocess
    from radiograft.stages.runtime import stage

    with stage("list_workers"):
        return list(range(Preprocess.from_json(settings).preprocess_workers))


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def preprocess(
    catalog: dsl.Input[dsl.Dataset],
    part: dsl.Output[dsl.Dataset],
    checkpoint_root: str,
    run_id: str,
    worker: int,
    settings: str,
) -> None:
    """Decodes, resizes and stores the images of one worker."""
    from pathlib import Path

    from radiograft.config import Preprocess
    from radiograft.stages.preprocess import task
    from radiograft.stages.runtime import stage
    from radiograft.training import devices
    from radiograft.training.checkpoints import Checkpoints

    devices.share_cores_by_image()
    with stage("preprocess", part.path, reads=[catalog.path]):
        checkpoints = Checkpoints.of_task(checkpoint_root, run_id, f"preprocess-{worker}")
        task.preprocess_share(Preprocess.from_json(settings), Path(catalog.path), Path(part.path), checkpoints, worker)


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def collect_shards(
    catalog: dsl.Input[dsl.Dataset],
    parts: dsl.Input[list[dsl.Dataset]],
    shards: dsl.Output[dsl.Dataset],
    data_report: dsl.Output[dsl.HTML],
    settings: str,
) -> None:
    """Merges the shards of all workers and writes the data report."""
    from pathlib import Path

    from radiograft.config import Preprocess
    from radiograft.reporting.data_report import write_data_report
    from radiograft.stages.preprocess import merge
    from radiograft.stages.runtime import stage

    with stage("collect_shards", shards.path, data_report.path, reads=[catalog.path, *(part.path for part in parts)]):
        sources = [Path(part.path) for part in parts]
        merge.run(Preprocess.from_json(settings), Path(catalog.path), sources, Path(shards.path))
        write_data_report(Path(shards.path), Path(data_report.path))
