"""Every notebook runs from beginning to end; its own assertions hold."""

import ast
import pathlib
import runpy

import jax
import pytest

from tests.adapters.conftest import require

NOTEBOOKS = sorted((pathlib.Path(__file__).parents[1] / "notebooks").glob("*.py"))
FOREIGN = {
    "blackjax"
}  # what `pip install 'logtrick[test-adapters]'` brings beyond everybody's test command


def imported(path):
    """The packages that a notebook imports."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {
        name.split(".")[0]
        for name in plain | {n.module for n in nodes if isinstance(n, ast.ImportFrom)}
    }


def test_there_are_some():
    assert NOTEBOOKS and any(imported(path) & FOREIGN for path in NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook(path):
    foreign = imported(path) & FOREIGN
    require(*foreign)
    with jax.numpy_rank_promotion("allow" if foreign else "raise"):
        runpy.run_path(str(path), run_name="__main__")
