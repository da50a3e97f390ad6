"""What MkDocs calls while it builds: adds the generated pages and shows notebooks as pages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
sys.path[:0] = [path for path in (str(ROOT),) if path not in sys.path]

from docs.tools import notebook, reference  # noqa: E402  found through the line above


def on_files(files: Files, config: Any) -> Files:
    """Adds the reference pages, and replaces each notebook by its page."""
    for uri, render in reference.PAGES.items():
        files.append(File.generated(config, uri, content=render()))
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        page = notebook.to_markdown(notebook.read(Path(config.docs_dir) / file.src_uri))
        files.remove(file)
        files.append(File.generated(config, file.src_uri.replace(".ipynb", ".md"), content=page))
    return files
