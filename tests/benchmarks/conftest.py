"""Benchmarks are scripts; here they are modules."""

import importlib.util
import pathlib
import sys

import jax
import pytest

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))  # as if one of them was run


@pytest.fixture(autouse=True)
def broadcasting():
    """As in a script of a user's: the library's own code is held to stricter rules by the other tests."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="module")
def script(request):
    """The benchmark that the test's module is named after."""
    name = request.module.__name__.rsplit(".", 1)[-1].removeprefix("test_")
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
