"""Plackett–Luce: a distribution over rankings, whole ones or their first places."""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from logtrick._core import checks
from logtrick._core.mesh import scan_varying
from logtrick._core.module import static
from logtrick.bijectors import Bijector
from logtrick.distributions._base import Distribution
from logtrick.distributions._capabilities import Enumeration
from logtrick.distributions._categorical import check_rows
from logtrick.distributions._draw import Draw, is_draw
from logtrick.distributions._parameters import Array, nan_where_any, parameters, where_inside
from logtrick.noise import Uniform, interior, wide
from logtrick.supports import Permutation, Support


class Ranking(Bijector):
    """y = x: the chart of rankings that `PlackettLuce` has drawn, which its log-prob need not check.

    The check of a ranking takes longer to compile than its log-prob.

    Args:
      masked: which items have a logit of −inf, shape (K,).
    """

    masked: Any

    def forward(self, x: Array) -> Array:
        return x

    def inverse(self, y: Array) -> Array:
        return jnp.full_like(
            y, -1
        )  # a ranking made elsewhere may be illegal: it has no coordinates

    def log_det(self, x: Array) -> Array:
        return jnp.zeros(())


class PlackettLuce(Distribution):
    """A ranking of K items, or its first `length` places, drawn without replacement in proportion to e^logits.

    P(x) = Πᵢ e^{logits[xᵢ]} / Σ_{j not in x₀ … xᵢ₋₁} e^{logits[j]}: x₀ is the item that comes first. Draws are int32
    vectors of different items: the order of logits + Gumbel noise, or its first places. Items with a logit of −inf (padding)
    come last, in the order of their numbers; any other order of them is impossible.

    Args:
      logits: log weights, shape (K,); −inf for masked items, not for all of them.
      length: how many places to draw; None for all K.
    Raises:
      TypeError: `length` is no int.
      ValueError: not shape (K,); a length below 1 or above K; a concrete logit that is nan or +inf, or no item left. (Traced
        ones give nan.)
    References:
      Plackett (1975), "The Analysis of Permutations"; Yellott (1977), "The Relationship between Luce's Choice Axiom,
      Thurstone's Theory of Comparative Judgment, and the Double Exponential Distribution".
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> weights = jnp.log(jnp.array([1.0, 2.0, 3.0]))
      >>> dist = lt.PlackettLuce(weights)
      >>> round(dist.log_prob(jnp.array([2, 1, 0])).item(), 4), dist.log_prob(jnp.array([2, 2, 0])).item()  # log ½ · ⅔
      (-1.0986, -inf)
      >>> dist.enumerate().shape
      (6, 3)
      >>> first = lt.PlackettLuce(weights, length=1)                # a Categorical
      >>> round(first.log_prob(jnp.array([2])).item(), 4), first.enumerate().shape            # log ½
      (-0.6931, (3, 1))
    """

    logits: Any
    length: int | None = static(default=None)

    def __post_init__(self) -> None:
        parameters(self, logits=self.logits)
        if self.logits.ndim != 1:
            raise ValueError(
                f"PlackettLuce(logits=…) needs shape (K,); got {self.logits.shape}. Use Joint for several."
            )
        check_rows(self, "logits")
        if self.length is not None:
            checks.positive_int("PlackettLuce", "length", self.length)
            if self.length > self.logits.shape[0]:
                raise ValueError(
                    f"PlackettLuce(length=…) needs at most the {self.logits.shape[0]} items; got {self.length}. Pass "
                    "length=None to rank all of them."
                )

    @property
    def _places(self) -> int:
        return self.logits.shape[0] if self.length is None else self.length

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self._places,)

    @property
    def support(self) -> Support:
        return Permutation(self.logits.shape[0], self.length)

    @property
    def noise_spec(self) -> Uniform:
        return Uniform(self.logits.shape, wide(self.logits.dtype))

    @property
    def enumeration(self) -> Enumeration:
        return Enumeration(self._points)

    def nan_unless_legal(self) -> Array | None:
        return nan_where_any(self)

    @property
    def charts(self) -> Any:
        return Ranking(self._masked), None

    @property
    def _masked(self) -> Array:
        return self.logits == -jnp.inf

    def _transform(self, noise: Array) -> Draw:
        # A Gumbel is −log of an exponential; −log1p(−u) keeps the small exponentials, which are the winners.
        gumbel = -jnp.log(-jnp.log1p(-interior(noise)))
        score = self.logits + gumbel
        if self._places < self.logits.shape[0]:
            order = lax.top_k(score, self._places)[1].astype(jnp.int32)
        else:
            order = jnp.argsort(-score).astype(jnp.int32)  # stable: masked items in their order
        return Draw(order, order, Ranking(self._masked))

    def _log_prob(self, x: Any) -> Array:
        if is_draw(x):
            # a draw is legal where the same items are masked as where it was drawn
            alike = jnp.all(x.chart.masked == self._masked)
            return jnp.where(alike, self._log_prob_of_legal(x.coordinates), jnp.nan)
        size = self.logits.shape[0]
        places = self._places
        x = jnp.asarray(x)
        index = jnp.where((x >= 0) & (x < size) & (x == jnp.floor(x)), x, size).astype(jnp.int32)
        taken = jnp.zeros(size, jnp.int32).at[index].set(1, mode="drop")
        inside = jnp.sum(taken) == places  # so many different items
        index = jnp.where(inside, index, jnp.arange(places, dtype=jnp.int32))
        ordered = self._masked_in_order(index, self._masked[index], taken)
        return where_inside(inside & ordered, self._log_prob_of_legal(index))

    def _log_prob_of_legal(self, index: Array) -> Array:
        """log p of a possible ranking."""
        size = self.logits.shape[0]
        places = self._places
        ranked = self.logits[index]
        masked = ranked == -jnp.inf
        if places == size:
            left = _log_sums_from_here_on(ranked)
        else:  # the items that are not ranked count as one last entry
            taken = jnp.zeros(size, jnp.int32).at[index].set(1)
            others = self._log_sum_of_others(taken)
            left = _log_sums_from_here_on(jnp.append(ranked, others))[:places]
        terms = jnp.where(masked, 0.0, jnp.where(masked, 0.0, ranked) - left)
        return jnp.sum(terms)

    def _log_sum_of_others(self, taken: Array) -> Array:
        """log Σ e^logits of the items that are not ranked; −inf where there are none."""
        others = jnp.where(taken == 0, self.logits, -jnp.inf)
        some = jnp.any(others > -jnp.inf)
        total = jax.nn.logsumexp(jnp.where(some, others, 0.0))
        return jnp.where(some, total, -jnp.inf)

    def _masked_in_order(self, index: Array, masked: Array, taken: Array) -> Array:
        """Whether masked items come after all others, in ascending order and without a gap."""
        ordered = jnp.all((masked[1:] & (index[1:] > index[:-1])) | ~masked[:-1])
        size = self.logits.shape[0]
        if self._places == size:
            return ordered
        # of what is not ranked nothing should have come before the last masked item that is
        order = jnp.arange(size) + jnp.where(self.logits == -jnp.inf, size, 0)
        next_one = jnp.min(jnp.where(taken == 0, order, 2 * size))
        return ordered & (~masked[-1] | (index[-1] + size < next_one))

    def _points(self) -> np.ndarray:
        size = self.logits.shape[0]
        places = self._places
        if math.perm(size, places) > 2**20:
            raise ValueError(
                f"enumerating {size}!/{size - places}! rankings exceeds {2**20}. Use ScoreFunction()."
            )
        every = list(itertools.permutations(range(size), places))
        return np.array(every, np.int32).reshape(-1, places)


def _log_sums_from_here_on(x: Array) -> Array:
    """log Σ_{j ≥ i} e^{xⱼ} for every i, exact to rounding for entries of any size; at least the least float for −inf.

    `jax.lax.cumlogsumexp` says the same and compiles ten times as long on the CPU (a tree of slices), and a cumulative sum of
    e^{x − max x} loses tails that are e⁻⁸⁷ times smaller. On the CPU a loop from the end is the quickest to compile and to
    run. Elsewhere each of its steps would be a call of several kernels, and the sums are taken by blocks.
    """
    # finite, since log(e^−∞ + e^−∞) has no derivative; far enough from the least float that differences are finite
    least = np.array(np.finfo(x.dtype).min / 4, x.dtype)
    x = jnp.where(x == -jnp.inf, least, x)
    if jax.default_backend() != "cpu":
        return _log_sums_by_blocks(x)

    def step(after: Array, entry: Array) -> tuple[Array, Array]:
        total = jnp.logaddexp(after, entry)
        return total, total

    none = jnp.full_like(x, least, shape=())
    return scan_varying(step, none, x[::-1], None)[1][::-1]


def _log_sums_by_blocks(x: Array) -> Array:
    """log Σ_{j ≥ i} e^{xⱼ}: √n blocks of √n entries, n^1.5 exponentials in all.

    The sum from i on is a sum within its block and a sum over later blocks, both relative to the largest entry from i on.
    """
    size = x.shape[0]
    block = max(1, math.isqrt(size))
    count = -(-size // block)
    padded = jnp.concatenate([x, jnp.full(count * block - size, -jnp.inf, x.dtype)])
    table = padded.reshape(count, block)
    here_on = np.triu(np.ones((block, block), bool))[None]
    later = np.triu(np.ones((count, count), bool), 1)
    # the largest entries, held constant: from i on within the block, in each block, in later blocks, from i on
    held = lax.stop_gradient(table)
    within = jnp.max(jnp.where(here_on, held[:, None, :], -jnp.inf), axis=-1)
    own = within[:, 0]
    after = jnp.max(jnp.where(later, within[None, :, 0], -jnp.inf), axis=-1)
    highest = _or_zero(jnp.maximum(within, after[:, None]))
    # no exponent is above 0
    exponents = jnp.where(here_on, table[:, None, :] - highest[:, :, None], -jnp.inf)
    totals = jnp.sum(jnp.exp(table - _or_zero(own)[:, None]), axis=-1)
    shares = jnp.exp(jnp.where(later, own[None, :] - _or_zero(after)[:, None], -jnp.inf))
    sum_after = (shares @ totals)[:, None] * jnp.exp(after[:, None] - highest)
    total = jnp.sum(jnp.exp(exponents), axis=-1) + sum_after
    log_total = jnp.where(total == 0, -jnp.inf, jnp.log(jnp.where(total == 0, 1.0, total)))
    return (log_total + highest).reshape(-1)[:size]


def _or_zero(x: Array) -> Array:
    return jnp.where(x == -jnp.inf, 0.0, x)
