"""A function of the draw whose expectation is known, as a control variate."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.kernel import detached, stop
from logtrick._core.module import static
from logtrick._core.samples import Runs
from logtrick.baselines._base import Array, Baseline, Site
from logtrick.distributions import Distribution


class ControlVariate(Baseline):
    """f − a (h − E h) in the place of f, h a function of the draw whose expectation is known, and leave-one-out.

    The term of value 0 is b (1 − box) − a [(h − E h) (box − 1) − (E h(θ) − E h)]: its derivative is
    −b s − a [(h − E h) s − ∇E h], of expectation 0 for all a, b that do not depend on x. For each
    sample, a is the regression of f on h over the *other* samples, and b the mean of
    f − a (h − E h) over them, so that the gradient is unbiased for any number of samples; its
    variance is 0 where f is linear in h.

    Cost: no evaluation of f; one of h and one of `expected_h` per draw.

    Args:
      h: `h(x) -> scalar`; only its dependence on x counts.
      expected_h: `expected_h(dist) -> scalar`, E h(x) in closed form, differentiable in dist as
        often as is asked.
    Raises:
      TypeError: h or expected_h is no function.
      ValueError: fewer than three samples; h or expected_h gives no scalar.
    References:
      Paisley, Blei & Jordan (2012), "Variational Bayesian Inference with Stochastic Search";
      Ranganath, Gerrish & Blei (2014), "Black Box Variational Inference"; Mohamed, Rosca, Figurnov
      & Mnih (2020), "Monte Carlo Gradient Estimation in Machine Learning", section 7.4.1, which
      warns of a regressed on the same draws.
    Example:
      >>> import jax, logtrick as lt
      >>> linear = lt.ControlVariate(lambda x: x, lambda dist: dist.loc)
      >>> value = lambda mu: lt.expect(jax.random.key(0), lambda x: 5.0 * x + 2.0, lt.Normal(mu, 1.0), num_samples=3,
      ...                              estimator=lt.ScoreFunction(linear))
      >>> round(jax.grad(value)(0.0).item(), 3)                # exact
      5.0
    """

    h: Callable[[Any], Any] = static()
    expected_h: Callable[[Any], Any] = static()
    least_samples: ClassVar[int] = 3
    reference: ClassVar[str] = (
        "Paisley, Blei & Jordan (2012), Variational Bayesian Inference with Stochastic Search; "
        "Ranganath, Gerrish & Blei (2014), Black Box Variational Inference."
    )

    def __post_init__(self) -> None:
        for name in ("h", "expected_h"):
            if not callable(getattr(self, name)):
                raise TypeError(
                    f"ControlVariate({name}=…) needs a function; got {getattr(self, name)!r}."
                )

    def look(self, x: Any, dist: Distribution) -> tuple[Array, Array]:
        """h(x), held constant, and E h."""
        h = stop(checks.scalar_cost("ControlVariate: h", self.h(x)))
        converted, outside = jax.closure_convert(self.expected_h, dist)
        mean = converted(dist, *detached(outside))
        return h, checks.scalar_cost("ControlVariate: expected_h", mean)

    def term(self, site: Site) -> Array:
        h, mean = site.seen
        centered, runs = h - stop(mean), site.runs
        a = regression(site.total, centered, runs)
        b = runs.leave_one_out(site.total) - a * runs.leave_one_out(centered)
        return (b + a * centered) * (1 - site.box) + a * (mean - stop(mean))


def regression(f: Array, h: Array, runs: Runs) -> Array:
    """The slope of f on h over the other samples; 0 where their h are all alike.

    Args:
      f: one sample's number, held constant.
      h: another number of the same sample, held constant.
      runs: the samples.
    Returns:
      The coefficient for this sample, which does not depend on it.
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> class Linear(lt.Baseline):                           # f less its regression on x, in a user's own file
      ...     least_samples = 3
      ...     def term(self, site):
      ...         slope = lt.baselines.regression(site.total, site.x, site.runs)
      ...         mean = site.runs.leave_one_out(site.total) - slope * site.runs.leave_one_out(site.x)
      ...         return mean * (1 - site.box)
      >>> value = lambda mu: lt.expect(jax.random.key(0), lambda x: x**2, lt.Normal(mu, 1.0), num_samples=100_000,
      ...                              estimator=lt.ScoreFunction(Linear()))
      >>> round(jax.grad(value)(1.0).item(), 1)                # exact: 2
      2.0
    """
    # Centered by the means of all samples: the slope stays the same, its rounding does not.
    f = f - runs.sum(f) / runs.count
    h = h - runs.sum(h) / runs.count
    others, count = runs.sum_of_others, runs.count - runs.block
    norm = others(h * h)
    variance = norm - others(h) ** 2 / count
    # What is less is rounding: of n equal numbers, whose sums are right to n ε at worst, and in practice far better.
    spread = variance > min(32 * runs.count * float(jnp.finfo(norm.dtype).eps), 0.25) * norm
    slope = (others(f * h) - others(f) * others(h) / count) / jnp.where(spread, variance, 1.0)
    return jnp.where(spread, slope, 0.0)
