"""The published figures: a fast subset by default, all of them under the marker `full`."""

import pytest

SLOW = [
    pytest.param(name, marks=pytest.mark.full)
    for name in ("titsias-shi", "kool", "rebar-toy", "rqmc")
]


@pytest.mark.parametrize("name", ["arms-toy", "reinmax-polynomial", *SLOW])
def test_figure(script, name):
    rows = script.FIGURES[name]()
    assert rows and not [row for row in rows if not row.right]
