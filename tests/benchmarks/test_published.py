"""The published experiments: a fast subset by default, all of them under the marker `full`."""

import importlib.util

import pytest

FAST = ("arms-toy", "reinmax-polynomial")
NEEDS_DATA = ("logistic-regression", "digits-vae")
NAMES = (
    "gaussian-atlas",
    "arms-toy",
    "rebar-toy",
    "titsias-shi",
    "kool",
    "random-walk",
    "iwae-snr",
    "logistic-regression",
    "digits-vae",
    "rqmc",
    "reinmax-polynomial",
    "elbo-and-bandit",
)


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.full) for name in NAMES]
)
def test_experiment(script, name):
    if name in NEEDS_DATA and importlib.util.find_spec("sklearn") is None:
        pytest.skip("the data are scikit-learn's (the benchmarks extra)")
    rows = script.FIGURES[name]()
    assert rows and not [row for row in rows if not row.right]


def test_there_are_twelve_and_each_says_what_it_is(script):
    assert tuple(script.FIGURES) == NAMES
    for i, name in enumerate(NAMES, 1):
        assert script.about(name).startswith(f"B{i}. ")


def test_a_number_that_is_off_is_marked(script):
    right = script.Row("a", 1.0, 1.01, 0.02, error=0.01, published=1.0)
    off = script.Row("b", 1.0, 1.1, 0.02)
    costly = script.Row("d", 1.0, 1.0, 0.02, evaluations=8)
    assert costly.work == 8.0 and off.work is None
    bound = script.Row("c", -1.6, -2.0, at_most=True)
    assert right.right and not off.right and bound.right
    assert "off" in script.line(off) and "off" not in script.line(right)
    text = script.markdown("arms-toy", [right, off, bound])
    assert "| a | 1 | 1 | 1.01 | 0.01 |  |  |" in text and "| ≤ -1.6 | -2 |" in text
