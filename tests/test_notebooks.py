"""Every notebook runs from beginning to end, its own assertions hold, and its rendered form is that of its source."""

import ast
import json
import pathlib
import re
import runpy

import jax
import pytest

from tests.adapters.conftest import require

FOLDER = pathlib.Path(__file__).parents[1] / "notebooks"
CELL = "# %%"
NOTEBOOKS = [p for p in sorted(FOLDER.glob("*.py")) if p.read_text().startswith(CELL)]
RENDERED = sorted(FOLDER.glob("*.ipynb"))
# what `pip install 'logtrick[test-adapters]'` brings beyond everybody's test command
FOREIGN = {"blackjax", "equinox", "flax"}


def imported(tree):
    """The packages that a program imports."""
    nodes = list(ast.walk(tree))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {
        name.split(".")[0]
        for name in plain | {n.module for n in nodes if isinstance(n, ast.ImportFrom)}
    }


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook(path, monkeypatch):
    monkeypatch.setenv("LOGTRICK_FAST", "1")  # long fits take fewer steps
    foreign = imported(ast.parse(path.read_text())) & FOREIGN
    require(*foreign)
    with jax.numpy_rank_promotion("allow" if foreign else "raise"):
        runpy.run_path(str(path), run_name="__main__")


def cells_of_source(text):
    """(kind, source) of each cell of a percent script."""
    cells = []
    for cell in ("\n" + text).split("\n" + CELL)[1:]:
        head, _, body = cell.partition("\n")
        lines = body.strip("\n").split("\n")
        if "[markdown]" in head:
            cells.append(("markdown", "\n".join(line.removeprefix("#")[1:] for line in lines)))
        else:
            cells.append(("code", "\n".join(lines)))
    return cells


TEXT_BLOCKS = {
    f"{path.stem}-{number}": block
    for path in NOTEBOOKS
    for kind, cell in cells_of_source(path.read_text())
    if kind == "markdown"
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", cell, flags=re.S | re.M))
}


def test_there_are_some():
    assert NOTEBOOKS and TEXT_BLOCKS and len(RENDERED) == len(NOTEBOOKS)
    assert any(imported(ast.parse(path.read_text())) & FOREIGN for path in NOTEBOOKS)


@pytest.mark.parametrize("name", TEXT_BLOCKS)
def test_the_programs_in_the_text_run(name):
    """They import what the notebooks' own environment need not have."""
    tree = ast.parse(TEXT_BLOCKS[name])
    require(*imported(tree) & FOREIGN)
    with jax.numpy_rank_promotion("allow"):
        exec(compile(tree, name, "exec"), {"__name__": name})


@pytest.mark.parametrize("path", RENDERED, ids=lambda p: p.stem)
def test_the_rendered_notebook_holds_its_source_and_outputs(path):
    notebook = json.loads(path.read_text())
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    command = f"python notebooks/build.py {path.stem}"
    assert cells == cells_of_source(path.with_suffix(".py").read_text()), f"out of step: {command}"
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code), f"not executed: {command}"
    outputs = [output for cell in code for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs), "no figure"
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert not [output["text"] for output in outputs if output.get("name") == "stderr"]
