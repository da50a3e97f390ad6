"""No file of the two packages imports itself through others; imports in functions and for types count."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

from tests.repository import ROOT

SOURCES = (ROOT / "components", ROOT / "pipelines")
Graph = dict[str, set[str]]


def module_files(*sources: Path) -> dict[str, Path]:
    """Returns the files below the source folders by the dotted name of their module."""
    names = {}
    for source in sources:
        for path in sorted(source.rglob("*.py")):
            parts = path.relative_to(source).with_suffix("").parts
            names[".".join(parts).removesuffix(".__init__")] = path
    return names


def import_graph(files: dict[str, Path]) -> Graph:
    """Returns for each module those of the same packages that it imports, anywhere in its file."""
    return {name: imported_modules(ast.parse(path.read_text()), files) for name, path in files.items()}


def imported_modules(tree: ast.Module, files: dict[str, Path]) -> set[str]:
    """Returns the modules that a file imports; `from package import module` counts as the module."""
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules |= {name if name in files else str(node.module) for name in names}
    return modules & files.keys()


def find_cycle(graph: Graph) -> list[str]:
    """Returns the modules of a cycle, the first again at the end; an empty list without one."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


@pytest.fixture(scope="module")
def graph() -> Graph:
    return import_graph(module_files(*SOURCES))


def test_import_graph_of_packages_has_no_pair_importing_each_other(graph: Graph) -> None:
    assert [(name, other) for name, others in graph.items() for other in others if name in graph[other]] == []


def test_import_graph_of_packages_has_no_cycle(graph: Graph) -> None:
    assert find_cycle(graph) == []


def test_import_graph_includes_imports_in_functions_and_for_types(tmp_path: Path) -> None:
    package = tmp_path / "toy"
    package.mkdir()
    (package / "__init__.py").write_text("import os\n")
    (package / "one.py").write_text("def run() -> None:\n    from toy import two\n")
    (package / "two.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import toy.three\n")
    (package / "three.py").write_text("from toy.one import run\n")
    graph = import_graph(module_files(tmp_path))
    assert graph == {"toy": set(), "toy.one": {"toy.two"}, "toy.two": {"toy.three"}, "toy.three": {"toy.one"}}
    assert set(find_cycle(graph)) == {"toy.one", "toy.two", "toy.three"}
