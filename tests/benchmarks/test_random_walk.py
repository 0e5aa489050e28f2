"""The random walk's figures: the exact moments against the oracle rows, and the fast run within them."""

import numpy as np
import pytest

from tests.oracles.problems import ROWS


def test_expected_moments_are_the_oracles(script):
    for n in (10, 50, 100):
        row = ROWS[f"walk/n{n}_p{2 * n}/sf"]
        np.testing.assert_allclose(
            script.expected(n, "the end"), [row["exact_gradient"], row["exact_variance"]], rtol=1e-9
        )
    to_go, whole = (script.expected(100, pays) for pays in ("each step", "the whole"))
    assert to_go[0] == pytest.approx(whole[0], rel=1e-12)
    assert whole[1] / to_go[1] == pytest.approx(2.23307, rel=1e-5)


def test_a_hundred_steps(script):
    """At 20,000 calls, where the tolerances are wider by their square root."""
    rows = script.rows(100, 20_000)
    assert len(rows) == 7 and not [row for row in rows if not row.right]
