"""The unordered set estimator: draws without replacement."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from logtrick._core import checks
from logtrick._core.kernel import magic_box, stop
from logtrick._core.module import assign, static
from logtrick._core.samples import Runs
from logtrick.distributions import Distribution
from logtrick.estimators._base import Estimator
from logtrick.estimators._costs import Array, Costs
from logtrick.estimators._enumerate import Enumerate
from logtrick.estimators._needs import FiniteSupport, Need, check_needs
from logtrick.estimators._points import Points
from logtrick.estimators._support import (
    check_draws,
    chosen,
    claimed,
    masses,
    size_of,
    uniforms_over,
)
from logtrick.noise import Uniform, interior

_MOST = 12


class UnorderedSet(Estimator):
    """The unordered set estimator: k draws without replacement by Gumbel top-k, with its built-in baseline.

    With S the set of the draws, P(S) its probability whatever the order, P^{D∖C} the same with the
    points C taken out of the domain, and R^{D∖C}(S, s) = P^{D∖C∖s}(S∖C∖s) / P^{D∖C}(S∖C), which is
    1 where s is in C:

    ∇_θ E[f] ≈ Σ_{s∈S} p(s) R(S, s) ∇ log p(s) [f(s) − Σ_{s′∈S} p(s′) R^{D∖s}(S, s′) f(s′)],
    unbiased,

    and, as c · box(log p) + b · (1 − box(log p)) with R held constant, right at every order. k = 1
    is the score function without a baseline; k of all points is `Enumerate`. Cost: k evaluations of
    f and none of its derivative, one log-prob a point of the support, 2^k k operations for R. The
    value is Σ p(s) R(S, s) f(s), whose weights sum to 1. A constant added to f changes nothing for
    k ≥ 2.

    R is exact: P^{D∖C}(S∖C) by a recursion over the subsets T of S that have been drawn, Q(S) = 1,
    Q(T) = Σ_{s∈S∖T} p(s) / (1 − p(T)) · Q(T ∪ s), its terms positive, in logs, and 1 − p(T) a sum
    over what is outside of T. So nothing cancels, neither at low entropy nor where S is the whole
    support.

    Args:
      num_draws: k, from 1 to 12, at most the points of the support.
    Raises:
      ValueError: the support is not finite, too large to enumerate, or has fewer than k points.
    References:
      Kool, van Hoof & Welling (2020), "Estimating Gradients for Discrete Random Variables by
      Sampling without Replacement". Checked against the authors' code,
      wouterkool/estimating-gradients-without-replacement, `bernoulli/baselines_lib.py` and
      `bernoulli/gumbel.py` (which sum over permutations, or integrate numerically).
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> cost = jnp.array([3.0, 1.0, 2.0, 5.0])
      >>> value = lambda logits: lt.expect(jax.random.key(0), lambda x: cost[x], lt.Categorical(logits),
      ...                                  estimator=lt.UnorderedSet(4), num_samples=1)
      >>> jax.grad(value)(jnp.zeros(4)).round(4).tolist()       # all four points: exact
      [0.0625, -0.4375, -0.1875, 0.5625]
    """

    num_draws: int = static()
    needs: ClassVar[frozenset[type[Need]]] = frozenset({FiniteSupport})
    reference: ClassVar[str] = (
        "Kool, van Hoof & Welling (2020), Estimating Gradients for Discrete Random Variables by Sampling without "
        "Replacement."
    )

    def __post_init__(self) -> None:
        assign(self, num_draws=checks.positive_int("UnorderedSet", "num_draws", self.num_draws))
        if self.num_draws > _MOST:
            raise ValueError(
                f"UnorderedSet(num_draws=…) needs at most {_MOST} draws, since it sums over their subsets; "
                f"got {self.num_draws}. Use more num_samples."
            )

    @property
    def evaluations(self) -> int:  # type: ignore[override]  # as many as it draws
        """Evaluations of f per sample: one for each of the k draws."""
        return self.num_draws

    def check(self, dist: Distribution, num_samples: int) -> None:
        check_needs(self, dist)
        check_draws(self, self.num_draws, dist)

    def noise(self, dist: Distribution) -> Uniform:
        return uniforms_over(dist)

    def draw(self, noise: Any, dist: Distribution) -> Points:
        if self.num_draws == size_of(dist):
            return Enumerate().draw(noise, dist)
        support, log_p = masses(dist)
        # the Gumbels of every sample are an array of the support's size
        noise = claimed(self, noise, log_p)
        index = top_k(log_p, noise, self.num_draws)
        weights, others = set_weights(log_p, index)
        draws, log_probs = chosen(dist, support, log_p, index)
        return Points(draws, dist, stacked=True, kept=(log_probs, weights, others))

    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        if self.num_draws == size_of(points.dist):
            return Enumerate().close(costs, points, runs)
        log_probs, weights, others = points.kept
        boxes = magic_box(log_probs)
        if self.num_draws == 1:
            return costs.averaged(weights * boxes)
        # a constant in f changes nothing; centering avoids its rounding
        costs = costs.centered()
        f = stop(costs.total)
        # f(s) less its baseline is Σ_{s′} p(s′) R(…) (f(s) − f(s′)): the weights of all s′, s included, sum to 1
        above = jnp.sum(others * (f[:, None] - f[None, :]), axis=1)
        zero = jnp.sum(stop(weights * (f - above)) * (1 - boxes))
        return costs.averaged(weights * boxes).plus(zero)


def top_k(log_p: Array, uniform: Array, k: int) -> Array:
    """k points without replacement, in the order of their draws: the largest of log p plus Gumbel noise."""
    gumbel = -jnp.log(-jnp.log(interior(uniform)))
    return lax.top_k(log_p + gumbel, k)[1]


def set_weights(log_p: Array, index: Array) -> tuple[Array, Array]:
    """p(s) R(S, s), shape (k,), and p(s′) R^{D∖s}(S, s′), shape (k, k) with zeros where s′ = s."""
    k = index.shape[0]
    inside = log_p[index]
    outside = jax.nn.logsumexp(log_p.at[index].set(-jnp.inf))
    log_q = _log_remaining(inside, outside)
    one = 1 << np.arange(k)
    two = one[:, None] | one[None, :]
    first = jnp.exp(inside + log_q[one] - log_q[0])
    second = jnp.exp(inside[None, :] + log_q[two] - log_q[one][:, None])
    return first, jnp.where(jnp.eye(k, dtype=bool), 0.0, second)


def _log_remaining(inside: Array, outside: Array) -> Array:
    """log Q(T) for every subset T of S, as a bit mask: the probability that the next draws are the rest of S."""
    k = inside.shape[0]
    drawn = (np.arange(2**k)[:, None] >> np.arange(k)) & 1
    left = jnp.where(drawn == 1, -jnp.inf, inside[None, :])  # log p(s) of what is left in S
    log_mass = jnp.logaddexp(jax.nn.logsumexp(left, axis=1), outside)  # log(1 − p(T))
    log_q = jnp.zeros(2**k, inside.dtype)
    for size in range(k - 1, -1, -1):
        subsets = np.flatnonzero(drawn.sum(1) == size)
        # what is drawn already is masked by `left`
        after = log_q[subsets[:, None] | (1 << np.arange(k))]
        new = jax.nn.logsumexp(left[subsets] + after, axis=1) - log_mass[subsets]
        # where only points of probability zero are left, they come last, surely
        log_q = log_q.at[subsets].set(jnp.where(log_mass[subsets] == -jnp.inf, 0.0, new))
    return log_q
