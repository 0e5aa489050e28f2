"""L-BFGS for many starts."""

import jax.numpy as jnp
import numpy as np

from logtrick.vi._engines._density import Density
from logtrick.vi._engines._lbfgs import Ascent
from tests.vi.engines.problems import Flat


def rosenbrock():
    return Flat(lambda z: -((1 - z[0]) ** 2) - 100 * (z[1] - z[0] ** 2) ** 2, 2)


STARTS = np.array([[-1.2, 1.0], [0.0, 0.0], [3.0, -2.0]])


def test_every_lane_arrives(x64):
    ascent = Ascent(Density(rosenbrock()), STARTS, tolerance=1e-10).run()
    np.testing.assert_allclose(ascent.points, np.ones((3, 2)), atol=1e-3)
    assert ascent.spent.max() < 120


def test_lanes_do_not_see_each_other(x64):
    together = Ascent(Density(rosenbrock()), STARTS).run()
    for lane, start in enumerate(STARTS):
        alone = Ascent(Density(rosenbrock()), start[None]).run()
        np.testing.assert_array_equal(alone.points[0], together.points[lane])


def test_values_never_fall_and_starts_outside_stay_where_they_are(x64):
    """log z is nan below 0: its line searches turn back."""
    density = Density(Flat(lambda z: jnp.log(z[0]) - z[0], 1))
    ascent = Ascent(density, np.array([[-1.0], [30.0]]))
    assert ascent.active.tolist() == [False, True]
    before = ascent.values[1]
    while ascent.active.any():
        ascent.advance()
        assert ascent.values[1] >= before
        before = ascent.values[1]
    assert ascent.points[0, 0] == -1.0
    np.testing.assert_allclose(ascent.points[1], 1.0, atol=0.1)


def test_evaluations_are_limited(x64):
    ascent = Ascent(Density(rosenbrock()), STARTS, max_evaluations=7).run()
    assert ascent.spent.max() == 7
