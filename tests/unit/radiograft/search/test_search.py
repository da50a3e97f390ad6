"""A search with a network of two convolutions: trials match single runs, share what they can, and can be resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from optuna.trial import TrialState

from radiograft.config import ExtractFeatures, FineTune, Preprocess
from radiograft.config.base import Scalar
from radiograft.config.resolution import fill_defaults, load_settings_file, resolve_trial
from radiograft.config.search import resolve_strategy
from radiograft.data.shards.dataset import Shards
from radiograft.registry.search_types import SearchResults
from radiograft.search import finish, task
from radiograft.search.runner import TrialInputs, TrialRunner
from radiograft.stages.preprocess import task as preprocess
from radiograft.training.history import History
from tests.helpers.small_search import HEAD, inputs_in, settings_of
from tests.helpers.stages import run_extract_features, run_fine_tune
from tests.helpers.tensorboard_events import read_hparams


class Unobserved:
    """Follows a training and keeps its scores."""

    def on_epochs(self, history: History) -> None:
        """Does nothing."""

    def on_trained(self, history: History, scores: np.ndarray) -> None:
        self.history, self.scores = history, scores


class Searched(NamedTuple):
    """A finished search."""

    settings: dict[str, Scalar]
    inputs: TrialInputs
    output: Path
    results: SearchResults


@pytest.fixture
def inputs(tmp_path: Path, catalog_folder: Path, shards_folder: Path) -> TrialInputs:
    return inputs_in(tmp_path, catalog_folder, shards_folder)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, catalog_folder: Path, shards_folder: Path) -> Searched:
    """Eight trials over the settings of the classifier."""
    folder = tmp_path_factory.mktemp("searched")
    settings, inputs = settings_of(HEAD, search_trials=8), inputs_in(folder, catalog_folder, shards_folder)
    task.run(settings, inputs)
    return Searched(settings, inputs, folder / "out", finish.run(settings, inputs, folder / "out"))


def single_features(settings: dict[str, Scalar], shards: Path, folder: Path) -> tuple[Path, dict[str, object]]:
    """Runs the stage with these settings; returns the model and its history."""
    trained = run_extract_features(ExtractFeatures.of(settings), shards, folder / "features")
    return trained.model, json.loads((trained.model / "history.json").read_text())


def single_fine_tuning(settings: dict[str, Scalar], shards: Path, folder: Path) -> dict[str, object]:
    """Runs both training stages with these settings; returns the history of fine-tuning."""
    start, _ = single_features(settings, shards, folder)
    trained = run_fine_tune(FineTune.of(settings), shards, start, folder / "tuned")
    return dict(json.loads((trained.model / "history.json").read_text()))


def train_trial(runner: TrialRunner, strategy: str, settings: dict[str, Scalar], name: str) -> History:
    observer = Unobserved()
    runner.train(strategy, settings, observer, name)
    return observer.history


def test_run_trials_have_the_metrics_of_single_runs(searched: Searched, shards_folder: Path, tmp_path: Path) -> None:
    for row in searched.results["trials"][:2]:
        settings = resolve_trial(searched.settings, row["values"])
        _, history = single_features(settings, shards_folder, tmp_path / str(row["number"]))
        best = History(**history).best  # type: ignore[arg-type]
        assert best["val_auroc"] == row["metric"]


def test_run_trials_of_classifier_read_no_image_after_the_first(
    inputs: TrialInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(HEAD)
    runner = task.build_runner(settings, inputs)
    train_trial(runner, "feature_extraction", settings, "a")
    monkeypatch.setattr(Shards, "_records", lambda *_, **__: pytest.fail("an image was read"))
    other = resolve_trial(settings, {"model_dropout": 0.1, "train_feature_learning_rate": 0.1})
    assert train_trial(runner, "feature_extraction", other, "b").epochs


def test_fine_tuning_trials_share_activations_and_match_single_runs(
    inputs: TrialInputs, shards_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The optimizer does not change the key of the cache, so the second trial reads no image."""
    space = {"train_fine_tune_learning_rate": [0.001, 0.003], "optimizer": ["adam", "sgd"]}
    settings = settings_of(space)
    runner = task.build_runner(settings, inputs)
    first = train_trial(runner, "fine_tuning", settings, "a")
    other = resolve_trial(settings, {"train_optimizer": "sgd", "train_fine_tune_learning_rate": 0.001})
    with monkeypatch.context() as patch:
        patch.setattr(Shards, "_records", lambda *_, **__: pytest.fail("an image was read"))
        second = train_trial(runner, "fine_tuning", other, "b")
    again = train_trial(runner, "fine_tuning", settings, "c")  # the shared network has its weights again
    assert again == first
    assert second.to_json() == single_fine_tuning(other, shards_folder, tmp_path)


def test_fine_tuning_trial_with_other_augmentation_and_size_matches_single_run(
    inputs: TrialInputs, catalog_folder: Path, tmp_path: Path
) -> None:
    """Both change what trials can share."""
    space = {"image_size": [32, 64], "image_augmentation.rotation_range": {"low": 0, "high": 40}}
    settings = settings_of(space)
    runner = task.build_runner(settings, inputs)
    train_trial(runner, "fine_tuning", settings, "a")
    trial = resolve_trial(settings, {"image_size": 64, "image_augmentation.rotation_range": 30.0})
    history = train_trial(runner, "fine_tuning", trial, "b")
    preprocess.run(Preprocess.of(trial), catalog_folder, tmp_path / "shards")
    assert history.to_json() == single_fine_tuning(trial, tmp_path / "shards", tmp_path)


def test_cut_off_trials_read_images_once_and_match_single_runs(
    inputs: TrialInputs, shards_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Activations at the deeper cut-off are computed from those at the shallower one."""
    settings = settings_of({"cut_off": ["stem_conv", "top_conv"]})
    runner, reads = task.build_runner(settings, inputs), list[str]()
    copies = Shards.copies
    monkeypatch.setattr(Shards, "copies", lambda data, split, *rest: reads.append(split) or copies(data, split, *rest))
    histories = {
        cut_off: train_trial(runner, "fine_tuning", {**settings, "model_cut_off": cut_off}, cut_off)
        for cut_off in ("top_conv", "stem_conv")
    }
    assert reads == ["train", "train"]  # two augmented copies, for both trials
    for cut_off, history in histories.items():
        single = single_fine_tuning({**settings, "model_cut_off": cut_off}, shards_folder, tmp_path / cut_off)
        best = History(**single).best  # type: ignore[arg-type]
        assert history.best["val_loss"] == pytest.approx(best["val_loss"], rel=0.02)  # rounded once more


def test_run_killed_in_a_trial_gives_undisturbed_result(
    tmp_path: Path, catalog_folder: Path, shards_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(HEAD, search_trials=2)
    kept = [inputs_in(tmp_path / name, catalog_folder, shards_folder) for name in ("undisturbed", "killed")]
    task.run(settings, kept[0])
    report, calls = task.StudyObserver.on_epochs, list[int]()

    def kill_once(observer: task.StudyObserver, history: History) -> None:
        calls.append(len(history.epochs))
        if len(calls) == 5:  # after the second epoch of the second trial
            raise KeyboardInterrupt
        report(observer, history)

    monkeypatch.setattr(task.StudyObserver, "on_epochs", kill_once)
    with pytest.raises(KeyboardInterrupt):
        task.run(settings, kept[1])
    task.run(settings, kept[1])
    assert calls == [1, 2, 3, 1, 2, 2, 3]  # resumed after the second epoch
    first, second = (task.open_study(settings, each).trials() for each in kept)
    assert [(trial.params, trial.value, trial.intermediate_values) for trial in second] == [
        (trial.params, trial.value, trial.intermediate_values) for trial in first
    ]


def test_run_impossible_trial_fails_and_the_search_goes_on(inputs: TrialInputs) -> None:
    settings = settings_of({"cut_off": ["top_conv", "no_such_layer"]}, search_trials=5)
    task.run(settings, inputs)
    states = {trial.params["model_cut_off"]: trial for trial in task.open_study(settings, inputs).trials()}
    assert states["top_conv"].state == TrialState.COMPLETE
    assert states["no_such_layer"].state == TrialState.FAIL
    assert "model_cut_off must be a layer" in states["no_such_layer"].user_attrs["error"]


def test_run_writes_values_and_metric_of_each_trial_for_hparams(searched: Searched) -> None:
    for row in searched.results["trials"]:
        values, metric = read_hparams(searched.inputs.logs / f"trial-{row['number']:04d}", "val_auroc")
        assert values == pytest.approx(row["values"])
        assert metric == pytest.approx(row["metric"])


def test_run_deletes_checkpoints_of_finished_trials(searched: Searched) -> None:
    kept = {path.name for path in Path(searched.inputs.checkpoints.uri).iterdir()}
    assert kept >= {"scores", "study"}
    assert not any(name.startswith("trial-") for name in kept)


def test_finish_chooses_best_mean_over_seeds_and_compares_in_pairs(searched: Searched) -> None:
    results = searched.results
    assert [trial["state"] for trial in results["trials"]] == ["complete"] * 8
    assert results["finalists"][0]["trial"] is None
    assert len(results["finalists"]) == 2
    means = [finalist["mean"] for finalist in results["finalists"]]
    assert means == [pytest.approx(sum(finalist["metrics"]) / 2) for finalist in results["finalists"]]
    assert means[results["winner"]] == max(means)
    best = max((trial for trial in results["trials"][1:]), key=lambda trial: trial["metric"] or 0)
    assert results["finalists"][1]["metrics"][0] == best["metric"]  # the first seed is that of the search
    assert set(results["comparison"]) == ({"validation", "test"} if results["winner"] else set())
    assert sum(results["importance"].values()) == pytest.approx(1)
    assert set(results["importance"]) == {"model_dense_units", "model_dropout", "train_feature_learning_rate"}
    assert results["optimism"] is not None
    assert results["optimism"]["apparent"] == max(trial["metric"] or 0 for trial in results["trials"])


def test_finish_writes_settings_report_and_study(searched: Searched) -> None:
    assert {path.name for path in searched.output.iterdir()} == {
        "best.yaml", "journal.log", "search.html", "search_results.json"
    }  # fmt: skip
    assert json.loads((searched.output / "search_results.json").read_text()) == searched.results
    written = load_settings_file(str(searched.output / "best.yaml"))
    winner = searched.results["finalists"][searched.results["winner"]]
    assert not any(name.startswith("search_") for name in written)
    expected = {**searched.settings, **winner["overrides"]}
    resolved = fill_defaults(written)
    assert {name: value for name, value in resolved.items() if not name.startswith("search_")} == {
        name: value for name, value in expected.items() if not name.startswith("search_")
    }
    page = (searched.output / "search.html").read_text()
    for text in ("8 trials: 8 complete", "Importance of the parameters", "Optimism of the choice", "default settings"):
        assert text in page


@pytest.mark.parametrize(
    ("space", "strategy"),
    [
        ({"dropout": [0.1, 0.2]}, "feature_extraction"),
        ({"model_backbone": ["resnet50", "vgg16"], "image_size": [32, 64]}, "feature_extraction"),
        ({"train_fine_tune_learning_rate": [0.1, 0.2]}, "fine_tuning"),
        ({"model_cut_off": ["stem_conv", "top_conv"]}, "fine_tuning"),
        ({"image_augmentation.rotation_range": [0, 5]}, "fine_tuning"),
    ],
    ids=str,
)
def test_search_strategy_auto_follows_the_space(space: object, strategy: str) -> None:
    assert resolve_strategy(settings_of(space)) == strategy


def test_search_strategy_impossible_raises() -> None:
    space = {"train_fine_tune_learning_rate": [0.1, 0.2]}
    with pytest.raises(ValueError, match="must not search train_fine_tune_learning_rate: use fine_tuning"):
        resolve_strategy(settings_of(space, search_strategy="feature_extraction"))
    with pytest.raises(ValueError, match="model_cut_off must be one layer in a search, got 'auto'"):
        resolve_strategy(settings_of(space, model_cut_off="auto"))


def test_search_strategy_of_two_branches_raises() -> None:
    settings = settings_of({"train_optimizer": ["adam", "sgd"]})
    with pytest.raises(ValueError, match="^model_branches must not be attention_guided in a search, because "):
        resolve_strategy({**settings, "model_branches": "attention_guided"})


def test_search_strategy_of_numbers_rejects_parameters_of_classes() -> None:
    settings = {**settings_of({"preset": "standard"}), "data_task": "regression"}
    with pytest.raises(
        ValueError, match=r"search_space must not have train_recipe.label_smoothing with data_task=regr"
    ):
        resolve_strategy(settings)
    without = {"preset": "standard", "train_recipe.label_smoothing": None, "train_recipe.loss_weights": None}
    assert resolve_strategy({**settings_of(without), "data_task": "regression"}) == "fine_tuning"


def test_search_rules_epochs_of_pruner_are_the_largest_searched(inputs: TrialInputs) -> None:
    assert task.open_study(settings_of(HEAD), inputs).rules.max_epochs == 3
    space = {**HEAD, "train_feature_epochs": [4, 9]}
    rules = task.search_rules(settings_of(space), task.open_study(settings_of(HEAD), inputs).rules.monitor)
    assert rules.max_epochs == 9
