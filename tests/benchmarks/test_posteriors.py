"""The benchmark of posteriors: its densities, and (marked `full`) all of its table."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest


def test_there_are_33_with_their_references(script, x64):
    found = script.posteriors()
    assert len(found) == 33
    for posterior in found.values():
        quantities = jax.eval_shape(posterior.quantities, posterior.like)
        assert set(posterior.moments) <= set(quantities)
        assert set(posterior.support) <= set(posterior.like)


def test_a_regression(script, x64):
    """A flat prior on β and log-flat on σ: log Z is known in closed form."""
    (posterior,) = script.posteriors("logmesquite_logvolume").values()
    row = script.measure(posterior, seed=0)
    assert row.status == "converged" and row.verdict == "good" and row.right
    assert abs(row.gap - 0.025) < 0.01 and row.excess < 0.002
    assert row.mean_error < 0.05 and row.evaluations < 4000


@pytest.mark.full
def test_all(script, x64):
    """Excess at most 0.02 nats, the median of gradients on the regressions at most 3,000, no bad fit called good."""
    rows = [script.measure(posterior, seed=0) for posterior in script.posteriors().values()]
    assert max(row.excess for row in rows) < 0.02
    assert sum(row.right for row in rows) >= 0.95 * len(rows)
    assert all(row.good for row in rows if row.verdict == "good")
    regressions = [row for row in rows if not any(w in row.name for w in ("eight", "hmm", "gp"))]
    assert np.median([row.evaluations for row in regressions]) <= 3000
    assert jnp.isfinite(jnp.array([row.gap for row in rows])).all()
