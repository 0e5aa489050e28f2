"""The published figures: a fast subset by default, all of them under the marker `full`."""

import importlib.util
import pathlib
import sys

import pytest

PATH = pathlib.Path(__file__).parents[2] / "benchmarks" / "published.py"


@pytest.fixture(scope="module")
def figures():
    spec = importlib.util.spec_from_file_location("published", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["published"] = module
    spec.loader.exec_module(module)
    return module.FIGURES


SLOW = [pytest.param(name, marks=pytest.mark.full) for name in ("titsias-shi", "kool", "rebar-toy", "rqmc")]


@pytest.mark.parametrize("name", ["arms-toy", "reinmax-polynomial", *SLOW])
def test_figure(figures, name):
    rows = figures[name]()
    assert rows and not [row for row in rows if not row.right]
