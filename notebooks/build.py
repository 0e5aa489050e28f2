"""Execute the notebooks: `python notebooks/build.py [name …]` writes each `name.ipynb` from its source `name.py`.

The sources are percent scripts; `name.ipynb` holds the same cells with their outputs and figures, for readers. Needs
`pip install -e '.[notebooks]'`.
"""

import pathlib
import sys
import time

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = pathlib.Path(__file__).parent
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def build(source: pathlib.Path) -> None:
    """Execute one source and write its notebook, without anything that changes from run to run but the outputs."""
    notebook = jupytext.read(source)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": FOLDER.parent}}).execute()
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for number, cell in enumerate(notebook.cells):
        cell.metadata = {}
        cell.id = f"cell-{number}"
    nbformat.write(notebook, source.with_suffix(".ipynb"))


def main(names: list[str]) -> None:
    sources = sorted(p for p in FOLDER.glob("*.py") if p.read_text().startswith("# %%"))
    for source in sources:
        if not names or source.stem in names:
            started = time.monotonic()
            build(source)
            print(f"{source.stem}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
