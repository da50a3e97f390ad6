"""Runs a notebook's cells and shows notebooks as pages, with nothing but Python.

`python -m docs.tools.notebook FILE` runs a notebook and stores what its cells print and return.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

Notebook = dict[str, Any]
PANDAS_STYLE = re.compile(r"<style scoped>.*?</style>")


def read(path: Path) -> Notebook:
    """Reads a notebook of format 4."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def execute(notebook: Notebook) -> Notebook:
    """Runs the code cells in order in one namespace and returns the notebook with their outputs.

    Raises:
        Exception: whatever a cell raises.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    cells, count = [], 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            count += 1
            cell = cell | {"execution_count": count, "outputs": _run("".join(cell["source"]), namespace, count)}
        cells.append(cell)
    return notebook | {"cells": cells}


def _run(source: str, namespace: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """What a cell prints, and the value of its last line where that is an expression."""
    tree = ast.parse(source)
    last = None
    if tree.body and isinstance(statement := tree.body[-1], ast.Expr):
        last = ast.Expression(statement.value)
        del tree.body[-1]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, "cell", "exec"), namespace)  # noqa: S102  the repository's own notebooks
        value = eval(compile(last, "cell", "eval"), namespace) if last else None  # noqa: S307
    outputs: list[dict[str, Any]] = []
    if text := printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)})
    if value is not None:
        result = {"output_type": "execute_result", "execution_count": count, "metadata": {}}
        outputs.append(result | {"data": _display(value)})
    return outputs


def _display(value: Any) -> dict[str, list[str]]:
    """A value as text, and as HTML where it can show itself so."""
    data = {"text/plain": repr(value).splitlines(keepends=True)}
    if hasattr(value, "_repr_html_"):
        data["text/html"] = str(value._repr_html_()).splitlines(keepends=True)
    return data


def to_markdown(notebook: Notebook) -> str:
    """A notebook as Markdown: text as it is, code fenced, outputs below the code."""
    return "\n\n".join(_cell_to_markdown(cell) for cell in notebook["cells"]) + "\n"


def _cell_to_markdown(cell: dict[str, Any]) -> str:
    source = "".join(cell["source"])
    if cell["cell_type"] != "code":
        return source
    return "\n\n".join([f"```python\n{source}\n```", *map(_output_to_markdown, cell["outputs"])])


def _output_to_markdown(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "text/html" in data:
        html = "".join(data["text/html"]).replace("\n", "")  # on one line, so that Markdown leaves it alone
        return PANDAS_STYLE.sub("", html).replace('border="1" class="dataframe"', "")  # the page has a style of its own
    text = "".join(data.get("text/plain", output.get("text", [])))
    return f"```text\n{text.rstrip()}\n```"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(json.dumps(execute(read(path)), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
