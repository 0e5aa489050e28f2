"""Plackett–Luce: a distribution over rankings, whole ones or their first places."""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from logtrick._core import checks
from logtrick._core.kernel import zero_of
from logtrick._core.mesh import scan_varying
from logtrick._core.module import assign, static
from logtrick.bijectors import Bijector
from logtrick.distributions._base import Distribution
from logtrick.distributions._capabilities import Enumeration
from logtrick.distributions._draw import Draw, is_draw
from logtrick.distributions._parameters import Array, parameters, where_inside
from logtrick.distributions._rows import check_known_logits
from logtrick.noise import Uniform, interior, wide
from logtrick.supports import Permutation, Support


class Ranking(Bijector):
    """y = x: the chart of rankings that `PlackettLuce` has drawn: their items are different, and not checked again."""

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
        check_known_logits(self)
        if self.length is not None:
            assign(self, length=checks.positive_int("PlackettLuce", "length", self.length))
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

    def nan_unless_legal(self, x: Any = None) -> Array | None:
        if checks.concrete(self.logits) is not None:
            return None
        # One number for the whole row: logits that are made nan entry by entry take kernels of their own, in reverse mode too.
        logits = lax.stop_gradient(self.logits)
        # the maximum may overlook a nan: XLA on the CPU does not compare with it
        highest = jnp.max(logits)
        legal = (highest > -jnp.inf) & (highest < jnp.inf) & ~jnp.any(jnp.isnan(logits))
        return jnp.where(legal, 0.0, jnp.nan)

    @property
    def charts(self) -> Any:
        return Ranking(), None

    def _transform(self, noise: Array) -> Draw:
        # A Gumbel is −log of an exponential; −log1p(−u) keeps the small exponentials, which are the winners.
        gumbel = -jnp.log(-jnp.log1p(-interior(noise)))
        score = self.logits + gumbel
        if self._places < self.logits.shape[0]:
            order = lax.top_k(score, self._places)[1].astype(jnp.int32)
        else:
            order = jnp.argsort(-score).astype(jnp.int32)  # stable: masked items in their order
        return Draw(order, order, Ranking())

    def _log_prob(self, x: Any) -> Array:
        illegal = self.nan_unless_legal()
        log_p = self._log_prob_of_possible(x)
        if illegal is None:
            return log_p
        # Added with a derivative in the logits: where all of them are −inf, no other term of log p has one.
        return log_p + illegal.astype(log_p.dtype) * zero_of(self.logits)

    def _log_prob_of_possible(self, x: Any) -> Array:
        """log p under legal logits."""
        if is_draw(x):
            return self._log_prob_of_different(x.coordinates)
        size = self.logits.shape[0]
        places = self._places
        x = jnp.asarray(x)
        index = jnp.where((x >= 0) & (x < size) & (x == jnp.floor(x)), x, size).astype(jnp.int32)
        different = jnp.sum(self._taken(index)) == places
        index = jnp.where(different, index, jnp.arange(places, dtype=jnp.int32))
        return where_inside(different, self._log_prob_of_different(index))

    def _log_prob_of_different(self, index: Array) -> Array:
        """log p of a ranking of different items, or of its first places."""
        ranked = self.logits[index]
        masked = ranked == -jnp.inf
        # masked items come after all others, in ascending order and without a gap
        too_early = masked[:-1] & ~(masked[1:] & (index[1:] > index[:-1]))
        if self._places == self.logits.shape[0]:
            left = _log_sums_from_here_on(ranked)
            last_too_early = jnp.array(False)
        else:  # the items that are not ranked count as one last entry
            taken = self._taken(index)
            others = self._log_sum_of_others(taken)
            left = _log_sums_from_here_on(jnp.append(ranked, others))[: self._places]
            last_too_early = masked[-1] & ~self._next_of_masked(index[-1], taken)
        terms = jnp.where(masked, 0.0, jnp.where(masked, 0.0, ranked) - left)
        # added to the terms, so that one reduction serves both
        early = jnp.append(too_early, last_too_early)
        excluded = jnp.where(early, -jnp.inf, 0.0).astype(terms.dtype)
        log_p = jnp.sum(terms + lax.stop_gradient(excluded))
        return where_inside(log_p != -jnp.inf, log_p)  # an impossible ranking has the score 0

    def _taken(self, index: Array) -> Array:
        """1 for each item that is ranked, 0 for the others."""
        return jnp.zeros(self.logits.shape[0], jnp.int32).at[index].set(1, mode="drop")

    def _log_sum_of_others(self, taken: Array) -> Array:
        """log Σ e^logits of the items that are not ranked; −inf where there are none."""
        others = jnp.where(taken == 0, self.logits, -jnp.inf)
        some = jnp.any(others > -jnp.inf)
        total = jax.nn.logsumexp(jnp.where(some, others, 0.0))
        return jnp.where(some, total, -jnp.inf)

    def _next_of_masked(self, item: Array, taken: Array) -> Array:
        """Whether nothing that is not ranked should come before the masked `item`, the last that is."""
        size = self.logits.shape[0]
        order = jnp.arange(size) + jnp.where(self.logits == -jnp.inf, size, 0)
        return item + size < jnp.min(jnp.where(taken == 0, order, 2 * size))

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
