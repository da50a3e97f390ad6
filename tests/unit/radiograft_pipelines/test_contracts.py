"""Rules for every component: parameters come from settings, components are thin, and stages do not import KFP."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from radiograft.config import Evaluate, ExtractFeatures, FineTune, Ingest, Preprocess, Publish, all_settings
from radiograft.config.base import Settings
from tests.repository import ROOT

PACKAGE = ROOT / "components" / "radiograft"
STAGES = PACKAGE / "stages"
SCALARS = (bool, int, float, str)
MAX_STATEMENTS = 10
SETTINGS: dict[str, type[Settings]] = {
    "ingest": Ingest,
    "list_workers": Settings,
    "preprocess": Preprocess,
    "collect_shards": Preprocess,
    "extract_features": ExtractFeatures,
    "fine_tune": FineTune,
    "evaluate": Evaluate,
    "publish": Publish,
    "list_cut_offs": Settings,
    "choose_model": Settings,
}
FOLDERS = {name: name for name in SETTINGS} | {
    **dict.fromkeys(("list_workers", "collect_shards"), "preprocess"),
    **dict.fromkeys(("list_cut_offs", "choose_model"), "select_model"),
}
ARTIFACTS: dict[str, dict[str, Any]] = {
    "ingest": {"catalog": dsl.Output[dsl.Dataset]},
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
        "logs": dsl.Output[dsl.Artifact],
    },
    "fine_tune": {
        "shards": dsl.Input[dsl.Dataset],
        "feature_model": dsl.Input[dsl.Model],
        "model": dsl.Output[dsl.Model],
        "logs": dsl.Output[dsl.Artifact],
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
        "logs": dsl.Output[dsl.Artifact],
        "tensorboard": dsl.Output[dsl.Markdown],
        "mlpipeline_ui_metadata": dsl.Output[dsl.Artifact],
    },
    "publish": {
        "model": dsl.Input[dsl.Model],
        "evaluation": dsl.Input[dsl.Artifact],
        "report": dsl.Input[dsl.HTML],
        "version": dsl.Output[dsl.Artifact],
        "outcome": dsl.Output[dsl.Metrics],
    },
    "list_cut_offs": {"feature_model": dsl.Input[dsl.Model]},
    "choose_model": {"models": dsl.Input[list[dsl.Model]], "model": dsl.Output[dsl.Model]},
}
# Without Metrics and ClassificationMetrics, which KFP stores in an artifact's metadata.
WRITTEN_AS_FILES = [dsl.Output[kind] for kind in (dsl.Artifact, dsl.Dataset, dsl.HTML, dsl.Markdown, dsl.Model)]
READ_AS_FOLDERS = [
    *(dsl.Input[kind] for kind in (dsl.Artifact, dsl.Dataset, dsl.Model)),
    *(dsl.Input[list[kind]] for kind in (dsl.Dataset, dsl.Model)),
]
OF_AN_ATTEMPT = {"checkpoint_root": str, "run_id": str, "task_name": str}
OTHER_SCALARS = {
    "list_workers": {"preprocess_workers": int},
    "preprocess": {"worker": int, **OF_AN_ATTEMPT},
    "extract_features": OF_AN_ATTEMPT,
    "fine_tune": OF_AN_ATTEMPT,
    "ingest": {"run_id": str},
    "evaluate": {"run_id": str},
    "publish": {"run_id": str},
    "list_cut_offs": {"model_cut_off": str},
}
every_stage = pytest.mark.parametrize("stage", list(SETTINGS))


def _parameters(stage: str) -> dict[str, inspect.Parameter]:
    component = getattr(import_module(f"radiograft.stages.{FOLDERS[stage]}.component"), stage)
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
    assert {path.parent.name for path in STAGES.glob("*/component.py")} == set(FOLDERS.values())
    assert {path.parent.name for path in STAGES.glob("*/task.py")} == set(FOLDERS.values())
    for folder in STAGES.glob("*/component.py"):
        functions = [node.name for node in ast.parse(folder.read_text()).body if isinstance(node, ast.FunctionDef)]
        assert functions == [stage for stage, name in FOLDERS.items() if name == folder.parent.name]


@every_stage
def test_component_scalars_equal_settings(stage: str) -> None:
    annotations = {name: parameter.annotation for name, parameter in _parameters(stage).items()}
    scalars = {name: annotation for name, annotation in annotations.items() if annotation in SCALARS}
    # ingest validates the settings of all stages
    fields = all_settings().values() if stage == "ingest" else dataclasses.fields(SETTINGS[stage])
    declared = {field.name: type(field.default) for field in fields}
    assert scalars == declared | OTHER_SCALARS.get(stage, {})


@every_stage
def test_component_other_parameters_are_artifacts(stage: str) -> None:
    annotations = {name: parameter.annotation for name, parameter in _parameters(stage).items()}
    others = {name: annotation for name, annotation in annotations.items() if annotation not in SCALARS}
    assert others == ARTIFACTS[stage]


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
