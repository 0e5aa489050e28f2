"""Where an estimator looks: the points at which the rest of the program is evaluated."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.kernel import Array, detached, stop
from logtrick.distributions import Distribution, value_of


@dataclasses.dataclass(frozen=True)
class Points:
    """What `draw` returns: one point, or a stack of points, at which the engine evaluates the rest of the program.

    Attributes:
      x: one draw of `dist`; with `stacked`, several of them with a leading axis.
      dist: the distribution that they are draws of.
      stacked: there are several points, on a leading axis of every leaf of `x`.
      kept: what `close` needs again, a pytree of arrays. (Inside a loop over time `close` is called
        after the loop, so what depends on the step goes here.)
      centers: further single points at which only the derivatives of the rest are wanted, held
        constant (for expansions around a mean), each with the order of the derivatives: `((center,
        order), …)`.
      sampled: `x` is what the sampler of `dist` makes of its noise, and not a number of the estimator's own.
      hidden: set by the engine: a number that depends on all parameters of `dist` which are not
        among its leaves (those that a user's log-prob closes over); None where there are none.

    Example:
      >>> import jax, logtrick as lt
      >>> dist = lt.Normal(0.0, 1.0)
      >>> lt.Points(dist.draw(dist.noise(jax.random.key(0))), dist).stacked
      False
    """

    x: Any
    dist: Distribution
    stacked: bool = False
    kept: Any = None
    centers: tuple[tuple[Any, int], ...] = ()
    sampled: bool = False
    hidden: Any = None

    @property
    def count(self) -> int:
        """How many points there are."""
        return jax.tree.leaves(self.x)[0].shape[0] if self.stacked else 1

    def nan_unless_possible(self) -> Array | None:
        """0, or nan where the one point is a draw that its distribution excludes; None where draws are not in doubt.

        In doubt are those of other libraries. A draw of floats that is excluded is nan, but f may compare it with something;
        whole numbers cannot be nan.
        """
        if self.stacked or not self.dist.checks_draws:
            return None
        leaves = [stop(leaf) for leaf in jax.tree.leaves(value_of(self.x))]
        inexact = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
        possible = [~jnp.any(jnp.isnan(leaf)) for leaf in inexact]
        if len(inexact) < len(leaves):
            # a fixed support also says that the draw is the distribution's own
            dist = detached(self.dist).fixed_support()
            possible.append(jnp.isfinite(dist.log_prob(detached(self.x))))
        return jnp.where(jnp.stack(possible).all(), 0.0, jnp.nan)

    def nan_unless_valid(self) -> Array | None:
        """0, or nan where traced parameters are illegal or the draw is one that is excluded; None where neither is in doubt."""
        draw = value_of(self.x) if self.sampled else None
        marks = (self.dist.nan_unless_legal(draw), self.nan_unless_possible())
        known = [mark for mark in marks if mark is not None]
        return sum(known[1:], known[0]) if known else None

    @property
    def parameters(self) -> tuple[Any, ...]:
        """Everything through which the site's own parameters reach what `close` makes of the costs."""
        return self.dist, self.kept, self.hidden


def _flatten(points: Points) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    centers, orders = zip(*points.centers) if points.centers else ((), ())
    children = (points.x, points.dist, points.kept, centers, points.hidden)
    return children, (points.stacked, orders, points.sampled)


def _unflatten(static: tuple[Any, ...], children: tuple[Any, ...]) -> Points:
    (stacked, orders, sampled), (x, dist, kept, centers, hidden) = static, children
    return Points(x, dist, stacked, kept, tuple(zip(centers, orders)), sampled, hidden)


jax.tree_util.register_pytree_node(Points, _flatten, _unflatten)
