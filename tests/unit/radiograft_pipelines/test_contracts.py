"""Rules for every component: settings are one string, components are thin, and stages do not import KFP."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl
from kfp.dsl.types.type_annotations import OutputPath

from radiograft.stages.ingest.resolve import OUTPUTS
from radiograft_pipelines.dags.form import FIELDS
from tests.repository import ROOT

PACKAGE = ROOT / "components" / "radiograft"
STAGES = PACKAGE / "stages"
SCALARS = (bool, int, float, str)
MAX_STATEMENTS = 10
STAGES_IN_ORDER = (
    "ingest", "list_workers", "preprocess", "collect_shards", "extract_features", "fine_tune", "evaluate",
    "publish", "list_cut_offs", "list_backbones", "choose_backbone", "choose_model", "list_search_workers",
    "run_trials", "choose_settings", "train_super_resolution", "evaluate_super_resolution",
    "publish_super_resolution",
)  # fmt: skip
SEARCH = "../search"  # the package above the stages, relative to their folder
FOLDERS = {name: name for name in STAGES_IN_ORDER} | {
    **dict.fromkeys(("list_workers", "preprocess", "collect_shards"), "preprocess"),
    **dict.fromkeys(("list_cut_offs", "list_backbones", "choose_backbone", "choose_model"), "select_model"),
    **dict.fromkeys(("list_search_workers", "run_trials", "choose_settings"), SEARCH),
    **dict.fromkeys(
        ("train_super_resolution", "evaluate_super_resolution", "publish_super_resolution"), "super_resolution"
    ),
}
TEXTS = {"ingest": {*OUTPUTS}, "choose_settings": {"extract_features_settings", "fine_tune_settings"}}
ARTIFACTS: dict[str, dict[str, Any]] = {
    "ingest": {"catalog": dsl.Output[dsl.Dataset], "resolved_settings": dsl.Output[dsl.Markdown]},
    "list_workers": {},
    "preprocess": {"catalog": dsl.Input[dsl.Dataset], "part": dsl.Output[dsl.Dataset]},
    "collect_shards": {
        "catalog": dsl.Input[dsl.Dataset],
        "parts": dsl.Input[list[dsl.Dataset]],
        "shards": dsl.Output[dsl.Dataset],
        "data_report": dsl.Output[dsl.HTML],
    },
    "extract_features": {
        "shards": dsl.Input[dsl.Dataset],
        "features": dsl.Output[dsl.Dataset],
        "feature_model": dsl.Output[dsl.Model],
    },
    "fine_tune": {
        "shards": dsl.Input[dsl.Dataset],
        "feature_model": dsl.Input[dsl.Model],
        "model": dsl.Output[dsl.Model],
    },
    "evaluate": {
        "shards": dsl.Input[dsl.Dataset],
        "features": dsl.Input[dsl.Dataset],
        "feature_model": dsl.Input[dsl.Model],
        "model": dsl.Input[dsl.Model],
        "evaluation": dsl.Output[dsl.Artifact],
        "metrics": dsl.Output[dsl.Metrics],
        "curves": dsl.Output[dsl.ClassificationMetrics],
        "report": dsl.Output[dsl.HTML],
        "tensorboard": dsl.Output[dsl.Artifact],
        "mlpipeline_ui_metadata": dsl.Output[dsl.Artifact],
    },
    "publish": {
        "model": dsl.Input[dsl.Model],
        "evaluation": dsl.Input[dsl.Artifact],
        "report": dsl.Input[dsl.HTML],
        "tensorboard": dsl.Input[dsl.Artifact],
        "version": dsl.Output[dsl.Artifact],
        "outcome": dsl.Output[dsl.Metrics],
    },
    "list_cut_offs": {"feature_model": dsl.Input[dsl.Model]},
    "list_backbones": {},
    "choose_backbone": {
        "all_features": dsl.Input[list[dsl.Dataset]],
        "feature_models": dsl.Input[list[dsl.Model]],
        "models": dsl.Input[list[dsl.Model]],
        "features": dsl.Output[dsl.Dataset],
        "feature_model": dsl.Output[dsl.Model],
        "model": dsl.Output[dsl.Model],
    },
    "choose_model": {"models": dsl.Input[list[dsl.Model]], "model": dsl.Output[dsl.Model]},
    "list_search_workers": {},
    "run_trials": {
        "catalog": dsl.Input[dsl.Dataset],
        "shards": dsl.Input[dsl.Dataset],
        "trials": dsl.Output[dsl.Artifact],
        "metrics": dsl.Output[dsl.Metrics],
    },
    "choose_settings": {
        "catalog": dsl.Input[dsl.Dataset],
        "shards": dsl.Input[dsl.Dataset],
        "all_trials": dsl.Input[list[dsl.Artifact]],
        "best_shards": dsl.Output[dsl.Dataset],
        "search": dsl.Output[dsl.Artifact],
        "report": dsl.Output[dsl.HTML],
        "metrics": dsl.Output[dsl.Metrics],
        "mlpipeline_ui_metadata": dsl.Output[dsl.Artifact],
    },
    "train_super_resolution": {"shards": dsl.Input[dsl.Dataset], "model": dsl.Output[dsl.Model]},
    "evaluate_super_resolution": {
        "shards": dsl.Input[dsl.Dataset],
        "model": dsl.Input[dsl.Model],
        "evaluation": dsl.Output[dsl.Artifact],
        "metrics": dsl.Output[dsl.Metrics],
        "report": dsl.Output[dsl.HTML],
    },
    "publish_super_resolution": {
        "model": dsl.Input[dsl.Model],
        "evaluation": dsl.Input[dsl.Artifact],
        "report": dsl.Input[dsl.HTML],
        "version": dsl.Output[dsl.Artifact],
    },
}
# Without Metrics and ClassificationMetrics, which KFP stores in an artifact's metadata.
WRITTEN_AS_FILES = [dsl.Output[kind] for kind in (dsl.Artifact, dsl.Dataset, dsl.HTML, dsl.Markdown, dsl.Model)]
READ_AS_FOLDERS = [
    *(dsl.Input[kind] for kind in (dsl.Artifact, dsl.Dataset, dsl.Model)),
    *(dsl.Input[list[kind]] for kind in (dsl.Artifact, dsl.Dataset, dsl.Model)),
]
SETTINGS = {"settings": str}
RUN, ATTEMPT = {"run_id": str}, {"checkpoint_root": str, "run_id": str}
SCALARS_OF: dict[str, dict[str, type]] = {
    "ingest": {**RUN, "pipeline": str, **dict.fromkeys(FIELDS, str)},
    "list_workers": SETTINGS,
    "preprocess": {**ATTEMPT, "worker": int, **SETTINGS},
    "collect_shards": SETTINGS,
    "extract_features": {**ATTEMPT, "task_name": str, "overrides": str, **SETTINGS},
    "fine_tune": {**ATTEMPT, "task_name": str, "overrides": str, **SETTINGS},
    "evaluate": {**RUN, **SETTINGS},
    "publish": {**RUN, **SETTINGS},
    "list_cut_offs": SETTINGS,
    "list_backbones": SETTINGS,
    "choose_backbone": {},
    "choose_model": {},
    "list_search_workers": SETTINGS,
    "run_trials": {**ATTEMPT, "worker": int, **SETTINGS},
    "choose_settings": {**ATTEMPT, **SETTINGS},
    "train_super_resolution": {**ATTEMPT, "backbone_settings": str, **SETTINGS},
    "evaluate_super_resolution": SETTINGS,
    "publish_super_resolution": {**RUN, **SETTINGS},
}
every_stage = pytest.mark.parametrize("stage", STAGES_IN_ORDER)


def _parameters(stage: str) -> dict[str, inspect.Parameter]:
    folder = (STAGES / FOLDERS[stage]).resolve().relative_to(PACKAGE)
    component = getattr(import_module(".".join(("radiograft", *folder.parts, "component"))), stage)
    return dict(inspect.signature(component.python_func).parameters)


def _function(stage: str) -> ast.FunctionDef:
    tree = ast.parse((STAGES / FOLDERS[stage] / "component.py").read_text())
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == stage)
    return function


def _imported(path: Path) -> set[str]:
    """Returns the packages that a module imports, including imports inside functions."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {
        name.partition(".")[0]
        for name in plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    }


def test_contract_covers_all_components() -> None:
    folders = {(STAGES / name).resolve() for name in FOLDERS.values()}
    assert {path.parent for path in PACKAGE.rglob("component.py")} == folders
    assert {path.parent for path in folders for path in path.glob("task.py")} == folders
    for folder in folders:
        tree = ast.parse((folder / "component.py").read_text())
        functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        assert functions == [stage for stage, name in FOLDERS.items() if (STAGES / name).resolve() == folder]


@every_stage
def test_component_takes_settings_as_one_string(stage: str) -> None:
    annotations = {name: parameter.annotation for name, parameter in _parameters(stage).items()}
    scalars = {name: annotation for name, annotation in annotations.items() if annotation in SCALARS}
    assert scalars == SCALARS_OF[stage]


@every_stage
def test_component_other_parameters_are_outputs_and_artifacts(stage: str) -> None:
    annotations = {name: parameter.annotation for name, parameter in _parameters(stage).items()}
    others = {name: annotation for name, annotation in annotations.items() if annotation not in SCALARS}
    texts = {name for name, annotation in others.items() if isinstance(annotation, OutputPath)}
    assert texts == TEXTS.get(stage, set())
    assert {name: kind for name, kind in others.items() if name not in texts} == ARTIFACTS[stage]


@every_stage
def test_component_parameters_have_no_defaults(stage: str) -> None:
    assert all(parameter.default is inspect.Parameter.empty for parameter in _parameters(stage).values())


@every_stage
def test_component_has_no_logic(stage: str) -> None:
    statements = [
        node
        for top in _function(stage).body[1:]  # after the docstring
        for node in ast.walk(top)
        if isinstance(node, ast.stmt) and not isinstance(node, ast.ImportFrom)
    ]
    assert len(statements) <= MAX_STATEMENTS


@every_stage
def test_component_checks_all_outputs(stage: str) -> None:
    (guard,) = (node for node in _function(stage).body if isinstance(node, ast.With))
    call = guard.items[0].context_expr
    outputs = [f"{name}.path" for name, artifact in ARTIFACTS[stage].items() if artifact in WRITTEN_AS_FILES]
    assert isinstance(call, ast.Call)
    assert [ast.unparse(argument) for argument in call.args] == [repr(stage), *outputs]


@every_stage
def test_component_verifies_all_inputs(stage: str) -> None:
    (guard,) = (node for node in _function(stage).body if isinstance(node, ast.With))
    call = guard.items[0].context_expr
    assert isinstance(call, ast.Call)
    names = [name for keyword in call.keywords for name in ast.walk(keyword) if isinstance(name, ast.Name)]
    loop_variables = {name.id for name in names if isinstance(name.ctx, ast.Store)}
    assert {name.id for name in names} - loop_variables == {
        name for name, kind in ARTIFACTS[stage].items() if kind in READ_AS_FOLDERS
    }


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(path, id=path.relative_to(PACKAGE).as_posix())
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "component.py"
    ],
)
def test_module_does_not_import_kfp(module: Path) -> None:
    assert "kfp" not in _imported(module)


def test_imported_finds_imports_inside_functions() -> None:
    assert _imported(STAGES / "ingest" / "component.py") == {"kfp", "radiograft", "pathlib"}
    assert "google" in _imported(PACKAGE / "storage" / "gcs.py")


INGEST = """
import json, sys
from pathlib import Path
from radiograft.config import Ingest
from radiograft.stages.ingest import task
source, output = sys.argv[1:]
task.run(Ingest(data_source=source, data_validation_fraction=0.3), Path(output))
print(json.dumps(sorted({"keras", "kfp", "tensorflow", "torch"} & set(sys.modules))))
"""


CHOOSE = """
import json, sys
from pathlib import Path
from radiograft.stages.select_model import task
*models, output = map(Path, sys.argv[1:])
task.select_model(models, output)
print(json.dumps(sorted({"keras", "kfp", "tensorflow", "torch"} & set(sys.modules))))
"""


def test_select_model_runs_without_tensorflow(tmp_path: Path) -> None:
    metrics = {"val_auroc": 0.5, "val_loss": 0.5}
    row = {
        "overrides": {"model_cut_off": "a"},
        "trainable_weights": 1,
        "epochs": 1,
        "best_epoch": 1,
        "metrics": metrics,
    }
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "search.json").write_text(json.dumps([row]))
    command = [sys.executable, "-c", CHOOSE, str(tmp_path / "model"), str(tmp_path / "chosen")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"
    assert (tmp_path / "chosen" / "search.json").is_file()


def test_ingest_runs_without_tensorflow(nih_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", INGEST, str(nih_folder), str(tmp_path / "catalog")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"
    assert (tmp_path / "catalog" / "catalog.parquet").is_file()
