"""KFP interface of the hyperparameter search: workers that share one study, and the choice of the winner."""

from kfp import dsl

from radiograft.stages.container_image import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def list_search_workers(settings: str) -> list[int]:
    """Returns the numbers of the workers, one per pod."""
    from radiograft.config import Search
    from radiograft.stages.runtime import stage

    with stage("list_search_workers"):
        return list(range(Search.from_json(settings).search_workers))


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def run_trials(
    catalog: dsl.Input[dsl.Dataset],
    shards: dsl.Input[dsl.Dataset],
    trials: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    checkpoint_root: str,
    run_id: str,
    worker: int,
    settings: str,
) -> None:
    """Draws trials from the study that all workers share and trains them until the budget is spent."""
    import json
    from pathlib import Path

    from radiograft.search import stage as search
    from radiograft.stages.runtime import stage
    from radiograft.training.checkpoints import Checkpoints

    with stage("run_trials", trials.path, reads=[catalog.path, shards.path]):
        checkpoints = Checkpoints.of_task(checkpoint_root, run_id, search.TASK)
        folders = search.SearchFolders(Path(catalog.path), Path(shards.path), checkpoints)
        for name, value in search.run_worker(json.loads(settings), folders, worker, Path(trials.path)).items():
            metrics.log_metric(name, value)


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def choose_settings(
    catalog: dsl.Input[dsl.Dataset],
    shards: dsl.Input[dsl.Dataset],
    all_trials: dsl.Input[list[dsl.Artifact]],
    best_shards: dsl.Output[dsl.Dataset],
    search: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    mlpipeline_ui_metadata: dsl.Output[dsl.Artifact],
    extract_features_settings: dsl.OutputPath(str),  # type: ignore[valid-type]
    fine_tune_settings: dsl.OutputPath(str),  # type: ignore[valid-type]
    checkpoint_root: str,
    run_id: str,
    settings: str,
) -> None:
    """Trains the finalists with several seeds, chooses the winner on validation, and writes settings and report."""
    import json
    from pathlib import Path

    from radiograft.reporting.tensorboard_card import write_card
    from radiograft.search.stage import TASK, TENSORBOARD, SearchFolders, choice_metrics, choose, write_winner
    from radiograft.stages.runtime import stage
    from radiograft.training.checkpoints import Checkpoints

    files = locals()
    with stage(
        "choose_settings",
        best_shards.path,
        search.path,
        report.path,
        mlpipeline_ui_metadata.path,
        reads=[catalog.path, shards.path, *(trials.path for trials in all_trials)],
    ):
        study, workers = Checkpoints.of_task(checkpoint_root, run_id, TASK), [Path(each.path) for each in all_trials]
        folders = SearchFolders(Path(catalog.path), Path(shards.path), study)
        results = choose(json.loads(settings), folders, workers, Path(search.path), Path(best_shards.path))
        write_winner(Path(search.path), Path(best_shards.path), Path(report.path), files)
        write_card(f"{search.uri}/{TENSORBOARD}", Path(mlpipeline_ui_metadata.path))
        for name, value in choice_metrics(results).items():
            metrics.log_metric(name, value)
