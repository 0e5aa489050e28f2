"""Mixtures of distributions."""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.kernel import detached, first_order
from logtrick._core.module import assign, replace
from logtrick.distributions._base import Distribution
from logtrick.distributions._capabilities import ClosedForms, Enumeration, Quantiles
from logtrick.distributions._categorical import inverse_cdf
from logtrick.distributions._common_draws import common_charts, in_common_form, log_prob_of
from logtrick.distributions._draw import value_of
from logtrick.distributions._mass import probability
from logtrick.distributions._parameters import Array, is_inexact, nan_where_any, parameters, widened
from logtrick.distributions._rows import check_rows
from logtrick.noise import Uniform, wide
from logtrick.supports import Countable, Finite, Support, Unknown, union


class Mixture(Distribution):
    """A mixture: p(x) = Σₖ wₖ pₖ(x), w = softmax(logits).

    The score function works over the mixture itself. Where the event is one number and every component's distribution
    function can be differentiated, it is reparameterized implicitly, dx/dθ = −∂_θF(x)/p(x), to first order: also in the
    weights, which no draw of a component index allows. Summing over the component instead, exactly, is a program of two
    draws, Σₖ wₖ E_{x∼pₖ}[f(x)]: `k = yield lt.sample(lt.Categorical(mixture.logits), lt.Enumerate())`, then
    `x = yield lt.sample(mixture.component(k))` with any estimator that the components allow.

    Args:
      logits: unnormalized log-weights, shape (K,); −inf for components without weight.
      components: K distributions of the same event, in a tuple; or one distribution made under `jax.vmap`, whose every
        leaf has a leading axis K. Components of one family are drawn and evaluated in one vmapped call.
    Raises:
      TypeError: a component is no distribution.
      ValueError: the numbers of logits and components differ, or the components' events do; discrete and continuous
        components are mixed; no legal logits.
    References:
      Figurnov, Mohamed & Mnih (2018), "Implicit Reparameterization Gradients", section 4.
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> dist = lt.Mixture(jnp.zeros(2), (lt.Normal(-1.0, 1.0), lt.Normal(1.0, 1.0)))
      >>> round(dist.log_prob(0.0).item(), 4), dist.mean().item()   # log φ(1)
      (-1.4189, 0.0)
      >>> def program(logits):
      ...     mixture = lt.Mixture(logits, (lt.Bernoulli(-1.0), lt.Bernoulli(1.0)))
      ...     k = yield lt.sample(lt.Categorical(mixture.logits), lt.Enumerate())
      ...     x = yield lt.sample(mixture.component(k), lt.Enumerate())
      ...     yield lt.cost(x)
      >>> value = lambda logits: lt.expect_program(jax.random.key(0), program, logits)
      >>> [round(g, 4) for g in jax.grad(value)(jnp.zeros(2)).tolist()]     # ¼ (σ(−1) − σ(1)), and its negative
      [-0.1155, 0.1155]
    """

    logits: Any
    components: Any

    def __post_init__(self) -> None:
        if isinstance(self.logits, Distribution):
            raise TypeError(
                "Mixture(logits, components): the logits come first, then the distributions. Swap them."
            )
        parameters(self, logits=self.logits)
        check_rows(self, "logits")
        if self.logits.ndim != 1:
            raise ValueError(
                f"Mixture(logits=…) needs shape (K,); got {self.logits.shape}. Use Joint for several."
            )
        if not isinstance(self.components, Distribution):
            assign(self, components=_stacked(tuple(self.components)))
        _check_components(self)

    # --- the components: a tuple, or one distribution with a leading axis

    @property
    def _alike(self) -> bool:
        return isinstance(self.components, Distribution)

    def _at(self, index: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[index], self.components)

    @property
    def _list(self) -> tuple[Any, ...]:
        """The components whose declarations count: one that stands for all alike, or all."""
        return (self._at(0),) if self._alike else self.components

    def _each(self, function: Callable[[Any], Array]) -> Array:
        """`function` of every component, stacked."""
        if self._alike:
            return jax.vmap(function)(self.components)
        return jnp.stack([function(part) for part in self.components])

    def component(self, k: Any) -> Distribution:
        """The k-th component, pₖ; k may be traced, as a draw of `Categorical(logits)` is.

        Of components of several families a traced k makes the mixture that gives all its weight to the k-th: its draws
        and log p are pₖ's, and it is reparameterized where a mixture of these families is.

        Args:
          k: an integer in 0 … K − 1; a traced one outside is taken to the nearest that is inside.
        Raises:
          TypeError: k is no single integer.
          ValueError: a concrete k is outside.
        Example:
          >>> import jax, jax.numpy as jnp, logtrick as lt
          >>> dist = lt.Mixture(jnp.zeros(2), (lt.Normal(-1.0, 1.0), lt.Normal(1.0, 1.0)))
          >>> jax.vmap(lambda k: dist.component(k).mean())(jnp.arange(2)).tolist()
          [-1.0, 1.0]
        """
        size = self.logits.shape[0]
        kind = jnp.result_type(k)
        if jnp.shape(k) != () or not jnp.issubdtype(kind, jnp.integer):
            raise TypeError(
                f"Mixture.component(k=…) needs one integer; got {kind.name} of shape {jnp.shape(k)}. "
                "Draw k from lt.Categorical(mixture.logits)."
            )
        concrete = checks.concrete(k)
        if concrete is not None and not 0 <= concrete < size:
            raise ValueError(
                f"Mixture.component(k=…) needs k in 0 … {size - 1}; got {concrete}. Count from 0."
            )
        if self._alike:
            return self._at(jnp.clip(k, 0, size - 1))
        if concrete is not None:
            return self.components[int(concrete)]
        alone = jnp.where(jnp.arange(size) == jnp.clip(k, 0, size - 1), 0.0, -jnp.inf)
        return Mixture(alone.astype(self.logits.dtype), self.components)

    # --- declarations

    @property
    def reparameterized(self) -> bool:
        return self.event_shape == () and self.quantiles.differentiable

    @property
    def moving_support(self) -> tuple[str, ...]:
        return ("components",) if any(part.moving_support for part in self._list) else ()

    def _with_support(self, change: Callable[[str, Any], Any]) -> "Mixture":
        fixed = lambda part: part._with_support(change)
        if not self._alike:
            return replace(self, components=tuple(fixed(part) for part in self.components))
        return replace(self, components=jax.vmap(fixed)(self.components))

    @property
    def may_hide_parameters(self) -> bool:
        return any(part.may_hide_parameters for part in self._list)

    @property
    def checks_draws(self) -> bool:
        return any(part.checks_draws for part in self._list)

    @property
    def closed_forms(self) -> ClosedForms:
        each = [part.closed_forms for part in self._list]
        with_mean = all(forms.mean for forms in each)
        with_variance = with_mean and all(forms.variance for forms in each)
        mean = self._mean if with_mean else None
        variance = self._variance if with_variance else None
        return ClosedForms(mean, variance)

    @property
    def quantiles(self) -> Quantiles:
        each = [part.quantiles for part in self._list]
        if not all(quantiles.cdf for quantiles in each):
            return Quantiles()
        return Quantiles(self._cdf, differentiable=all(q.differentiable for q in each))

    @property
    def enumeration(self) -> Enumeration | None:
        listed = all(part.enumeration is not None for part in self._list)
        return Enumeration(self._points) if listed else None

    @property
    def event_shape(self) -> Any:
        return self._list[0].event_shape

    @property
    def support(self) -> Support:
        each = [part.support for part in self._list]
        if all(jax.tree.structure(one) == jax.tree.structure(each[0]) for one in each):
            return Unknown() if self.moving_support else each[0]
        if all(one.finite for one in each):
            return Finite()
        return Countable() if each[0].discrete else Unknown()

    @property
    def noise_spec(self) -> Any:
        parts = tuple(part.noise_spec for part in self._list)
        return {"index": Uniform((), wide(self.logits.dtype)), "parts": parts}

    @property
    def charts(self) -> Any:
        """Those of every kind among the components: a draw has coordinates in each of them."""
        return common_charts(self._declared_charts)

    @property
    def _declared_charts(self) -> list[Any]:
        return [part.charts for part in self._list]

    # --- draws and log-probs

    def _transform(self, noise: Any) -> Any:
        draw = detached(self._draw_with(detached, noise))
        if not self.reparameterized:
            return draw
        density = jnp.exp(detached(self)._log_prob(draw))
        x = value_of(draw)
        return x + first_order("Pathwise() of a Mixture", -1 / density, self._cdf(x))

    def _draw_with(self, change: Callable[[Any], Any], noise: Any) -> Any:
        logits = widened(change(self.logits))
        index = inverse_cdf(logits, noise["index"])
        if self._alike:
            draw = self._at(index)._draw_with(change, noise["parts"][0])
        else:
            draws = [p._draw_with(change, n) for p, n in zip(self.components, noise["parts"])]
            stack = lambda *leaves: jnp.stack(leaves)[index]
            draw = jax.tree.map(stack, *in_common_form(draws, self._declared_charts))
        if checks.concrete(logits) is not None:
            return draw
        # illegal weights, where traced, are nan, and so are the draws
        nan_or_zero = jnp.where(jnp.isnan(logits).any(), jnp.nan, 0.0)
        add = lambda x: x + nan_or_zero.astype(x.dtype) if is_inexact(x) else x
        return jax.tree.map(add, draw)

    def _readable(self, x: Any) -> Any:
        return x  # each component reads its own

    def _log_prob(self, x: Any) -> Array:
        declared = self._declared_charts
        return self._mixed(self._each(lambda part: log_prob_of(part, x, declared)))

    def _mixed(self, log_probs: Array) -> Array:
        log_weights = jax.nn.log_softmax(self.logits)
        empty = log_weights == -jnp.inf  # without weight: whatever the component's log-prob is
        terms = jnp.where(empty, -jnp.inf, log_weights + jnp.where(empty, 0.0, log_probs))
        inside = jnp.any(terms > -jnp.inf) | jnp.any(jnp.isnan(terms))
        total = jax.nn.logsumexp(jnp.where(inside, terms, 0.0))
        return jnp.where(inside, total, -jnp.inf)

    @property
    def slopes_at_zero(self) -> bool:
        return any(part.slopes_at_zero for part in self._list)

    def _prob(self, x: Any) -> Array:
        return jax.nn.softmax(self.logits) @ self._each(lambda part: probability(part, x))

    def nan_unless_legal(self, x: Any = None) -> Array | None:
        # components of one family stand in one distribution, whose leaves have a leading axis
        parts = (self.components,) if self._alike else self.components
        each = [part.nan_unless_legal() for part in parts]
        weights = nan_where_any(self.logits)
        known = [one for one in (weights, *each) if one is not None]
        return functools.reduce(operator.add, known) if known else None

    def _points(self) -> Any:
        if not isinstance(self.support, Finite):
            return self._list[0].enumeration.points()
        return union("Mixture", [part.enumeration.points() for part in self._list])

    def _average(self, values: Array) -> Array:
        return jnp.tensordot(jax.nn.softmax(self.logits), values, 1)

    def _mean(self) -> Array:
        return self._average(self._each(lambda part: part.mean()))

    def _variance(self) -> Array:
        means = self._each(lambda part: part.mean())
        between = (means - self._average(means)[None]) ** 2
        return self._average(self._each(lambda part: part.variance()) + between)

    def _cdf(self, x: Any) -> Array:
        return self._average(self._each(lambda part: part.cdf(x)))


def _stacked(parts: tuple[Any, ...]) -> Any:
    """Components of one family and shape as one distribution with a leading axis; others as they are."""
    for part in parts:
        if not isinstance(part, Distribution):
            raise TypeError(
                f"Mixture(components=…) needs distributions; got {type(part).__name__}."
            )
    leaves = [
        [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in jax.tree.leaves(part)]
        for part in parts
    ]
    kinds: list[Any] = [jax.tree.structure(part) for part in parts]
    if all(kind == kinds[0] for kind in kinds) and all(shapes == leaves[0] for shapes in leaves):
        return jax.tree.map(lambda *each: jnp.stack(each), *parts)
    return parts


def _check_components(dist: Mixture) -> None:
    weights = dist.logits.shape[0]
    if dist._alike and any(not leaf.shape for leaf in jax.tree.leaves(dist.components)):
        raise ValueError(
            f"Mixture(components=…) needs a tuple of {weights} distributions, or one whose parameters have a leading axis of "
            f"{weights}; got {dist.components!r}. Pass lt.Normal(jnp.array([0.0, 1.0]), 1.0 * jnp.ones(2)), say."
        )
    alike = {leaf.shape[:1] for leaf in jax.tree.leaves(dist.components)}
    counts = alike if dist._alike else {(len(dist.components),)}
    if counts != {(weights,)}:
        raise ValueError(
            f"Mixture(logits=…, components=…) needs as many components as logits, {weights}; got {counts.pop()[0]}."
        )
    events = {str(part.event_shape) for part in dist._list}
    if len(events) > 1:
        raise ValueError(
            f"Mixture(components=…) needs components of one event shape; got {sorted(events)}."
        )
    if len({part.support.discrete for part in dist._list}) > 1:
        raise ValueError(
            "Mixture(components=…) mixes discrete and continuous components, which have no common density."
        )
