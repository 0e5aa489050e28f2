"""Independent distributions of any kind, as one distribution over a pytree of draws."""

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from logtrick.distributions._base import Distribution
from logtrick.distributions._capabilities import ClosedForms, Enumeration
from logtrick.distributions._mass import probability
from logtrick.distributions._parameters import Array
from logtrick.supports import Product, Support


class Joint(Distribution):
    """Independent distributions, one for each leaf of a pytree; a draw is a pytree of their draws, log p the sum.

    What estimators may do with it is what they may do with every part.

    Args:
      parts: a pytree (a dict, tuple, list, …) of distributions.
    Raises:
      TypeError: `parts` has no leaves, or one that is no distribution.
    Example:
      >>> import jax, logtrick as lt
      >>> dist = lt.Joint({"rate": lt.Gamma(2.0, 1.0), "on": lt.Bernoulli(0.0)})
      >>> round(dist.log_prob({"rate": 1.0, "on": 1.0}).item(), 4)            # −1 + log ½
      -1.6931
      >>> sorted(dist.sample(jax.random.key(0)))
      ['on', 'rate']
    """

    parts: Any

    def __post_init__(self) -> None:
        wrong = [leaf for leaf in self._leaves if not isinstance(leaf, Distribution)]
        if wrong or not self._leaves:
            got = type(wrong[0]).__name__ if wrong else "no leaves"
            raise TypeError(
                f"Joint(parts=…) needs a pytree of distributions; got {got}. Pass lt.Normal(…), say."
            )

    @property
    def _leaves(self) -> list[Any]:
        return jax.tree.leaves(self.parts, is_leaf=_is_distribution)

    def _map(self, function: Callable[..., Any], *trees: Any) -> Any:
        return jax.tree.map(function, self.parts, *trees, is_leaf=_is_distribution)

    @property
    def reparameterized(self) -> bool:
        return all(part.reparameterized for part in self._leaves)

    @property
    def moving_support(self) -> tuple[str, ...]:
        return ("parts",) if any(part.moving_support for part in self._leaves) else ()

    @property
    def may_hide_parameters(self) -> bool:
        return any(part.may_hide_parameters for part in self._leaves)

    @property
    def checks_draws(self) -> bool:
        return any(part.checks_draws for part in self._leaves)

    @property
    def closed_forms(self) -> ClosedForms:
        each = [part.closed_forms for part in self._leaves]
        own: dict[str, Any] = {
            "mean": self._mean,
            "variance": self._variance,
            "entropy": self._entropy,
            "kl_divergence": self._kl_divergence,
        }
        return ClosedForms(
            **{name: form for name, form in own.items() if all(getattr(f, name) for f in each)}
        )

    @property
    def enumeration(self) -> Enumeration | None:
        listed = all(part.enumeration is not None for part in self._leaves)
        return Enumeration(self._points) if listed else None

    @property
    def event_shape(self) -> Any:
        if any(part.event_shape is None for part in self._leaves):
            return None
        return self._map(lambda part: part.event_shape)

    @property
    def support(self) -> Support:
        return Product(tuple(part.support for part in self._leaves))

    @property
    def noise_spec(self) -> Any:
        return self._map(lambda part: part.noise_spec)

    @property
    def charts(self) -> Any:
        return self._map(lambda part: part.charts)

    def transform(self, noise: Any) -> Any:
        return self._map(lambda part, noise: part.transform(noise), noise)

    def draw(self, noise: Any) -> Any:
        return self._map(lambda part, noise: part.draw(noise), noise)

    def _transform(self, noise: Any) -> Any:
        return self._map(lambda part, noise: part._transform(noise), noise)

    def _draw_with(self, change: Callable[[Any], Any], noise: Any) -> Any:
        return self._map(lambda part, noise: part._draw_with(change, noise), noise)

    def _readable(self, x: Any) -> Any:
        return x  # each part reads its own

    def _with_support(self, change: Callable[[str, Any], Any]) -> "Joint":
        return Joint(self._map(lambda part: part._with_support(change)))

    @property
    def slopes_at_zero(self) -> bool:
        return any(part.slopes_at_zero for part in self._leaves)

    def _prob(self, x: Any) -> Array:
        each = jax.tree.leaves(self._map(probability, x))
        return functools.reduce(operator.mul, each)

    def nan_unless_legal(self, x: Any = None) -> Array | None:
        each = [part.nan_unless_legal() for part in self._leaves]
        known = [one for one in each if one is not None]
        return _total(known) if known else None

    def _log_prob(self, x: Any) -> Array:
        return _total(jax.tree.leaves(self._map(lambda part, x: part.log_prob(x), x)))

    def _points(self) -> Any:
        each = [part.enumeration.points() for part in self._leaves]
        counts = [jax.tree.leaves(points)[0].shape[0] for points in each]
        if math.prod(counts) > 2**20:
            raise ValueError(
                f"enumerating {math.prod(counts)} points exceeds {2**20}. Use ScoreFunction()."
            )
        index = np.indices(counts).reshape(len(counts), -1)
        chosen = iter([jax.tree.map(lambda p: p[i], points) for points, i in zip(each, index)])
        return self._map(lambda _: next(chosen))

    def _mean(self) -> Any:
        return self._map(lambda part: part.mean())

    def _variance(self) -> Any:
        return self._map(lambda part: part.variance())

    def _entropy(self) -> Array:
        return _total([part.entropy() for part in self._leaves])

    def _kl_divergence(self, other: Any) -> Array:
        return _total([p.kl_divergence(q) for p, q in zip(self._leaves, other._leaves)])


def _total(terms: list[Array]) -> Array:
    return functools.reduce(operator.add, terms)


def _is_distribution(x: Any) -> bool:
    return isinstance(x, Distribution)
