"""Any distribution as a guide."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.calls import described
from logtrick._core.kernel import stop
from logtrick._core.module import assign, replace
from logtrick.distributions import (
    Binomial,
    ClosedForms,
    Distribution,
    Enumeration,
    MultivariateNormal,
)
from logtrick.supports import Product
from logtrick.vi._flat import plain_layout
from logtrick.vi._guide import Guide

Array = jax.Array
# Parameters that have to stay positive: they are moved by their logarithms.
_POSITIVE = frozenset({"scale", "rate", "concentration", "df", "a", "b", "total_count"})


class Wrapped(Guide):
    """Any `lt.Distribution`, or one made by `lt.adapters`, as a guide; the density sees its draws as they are.

    The leaves of the distribution are what is fitted. Positive parameters of logtrick's own families (scales, rates,
    concentrations) are held by their logarithms, probabilities by their log odds, so that no optimizer's step leaves their
    domain; those of adapted ones are taken as they are, which suits flows. `vi.fit` wraps by itself.

    Args:
      dist: the distribution to start from.
    Raises:
      TypeError: no distribution.
    Example:
      >>> import logtrick as lt
      >>> from logtrick import vi
      >>> q = vi.Wrapped(lt.Gamma(2.0, 4.0))
      >>> round(q.dist.mean().item(), 4), round(q.log_prob(0.5).item(), 4)
      (0.5, 0.0794)
    """

    raw: Any

    def __init__(self, dist: Distribution) -> None:
        if not isinstance(dist, Distribution):
            raise TypeError(
                f"vi.Wrapped(dist=…) needs a distribution; got {type(dist).__name__}. Pass lt.Normal(0.0, 1.0), say, "
                "or a guide such as vi.MeanFieldNormal(like=…)."
            )
        like = jax.eval_shape(dist.sample, jax.random.key(0))
        kinds = _kinds(dist, jax.tree.leaves(like))
        some_floats = any(jnp.issubdtype(kind, jnp.floating) for kind, _ in kinds)
        dtype = jnp.result_type(float) if some_floats else kinds[0][0]
        layout = plain_layout("vi.Wrapped", like, dtype, kinds)
        assign(self, raw=_changed(dist, jnp.log), layout=layout)

    def __repr__(self) -> str:
        return f"Wrapped({self.dist!r})"

    @property
    def dist(self) -> Distribution:
        """The distribution as it is now."""
        return _changed(self.raw, jnp.exp)

    @property
    def base(self) -> Distribution:
        return self.dist

    @property
    def event_shape(self) -> Any:
        return self.raw.event_shape

    @property
    def support(self) -> Any:
        return self.dist.support

    @property
    def closed_forms(self) -> ClosedForms:
        own = self.dist.closed_forms
        return ClosedForms(own.mean or self._mean, own.variance or self._variance, own.entropy)

    @property
    def enumeration(self) -> Enumeration | None:
        return self.dist.enumeration

    @property
    def noise_spec(self) -> Any:
        return self.raw.noise_spec

    def constrain(self, x: Any) -> Any:
        return x

    def unconstrain(self, z: Any) -> Any:
        return z

    def log_det(self, x: Any) -> Array:
        return jnp.zeros((), jnp.result_type(float))

    def _log_prob(self, z: Any) -> Array:
        return self.dist.log_prob(z)

    def _draw_with(self, change: Any, noise: Any) -> Any:
        return self.dist._draw_with(change, noise)

    def _transform(self, noise: Any) -> Any:
        return self.dist._draw_with(lambda tree: tree, noise)


def as_guide(where: str, q: Any) -> Guide:
    """A guide as it is, another distribution wrapped."""
    if isinstance(q, Guide):
        return q
    if not isinstance(q, Distribution):
        advice = "Pass vi.MeanFieldNormal(like=…), say."
        if isinstance(q, type) and issubclass(q, Distribution):
            advice = f"Call it, vi.{q.__name__}(…)."
        elif isinstance(getattr(q, "q", None), Distribution):
            advice = "Pass its q, fit.q."
        elif callable(q):
            advice = "The log density comes before the guide."
        raise TypeError(
            f"{where}(q=…) needs a guide or a distribution; got {described(q)}. {advice}"
        )
    return Wrapped(q)


def _changed(dist: Any, change: Any) -> Any:
    """`dist` with its positive parameters changed; composites by their parts, families of others as they are.

    Probabilities become log odds, which stay in their domain as well.
    """
    if not type(dist).__module__.startswith("logtrick.distributions"):
        return dist
    if getattr(dist, "by_probs", False):
        dist = replace(dist, parameter=dist.logits, by_probs=False)
    new = {}
    for field in dataclasses.fields(dist):
        value = getattr(dist, field.name)
        if field.metadata.get("static"):
            continue
        if isinstance(dist, Binomial) and field.name == "total_count":
            new[field.name] = stop(
                value
            )  # a whole number, which exp(log n) is not, and which is not fitted
        elif isinstance(dist, MultivariateNormal) and field.name == "scale_tril":
            new[field.name] = jnp.tril(value, -1) + jnp.diag(change(jnp.diagonal(value)))
        elif field.name in _POSITIVE and isinstance(value, jax.Array):
            new[field.name] = change(value)
        else:
            is_dist = lambda x: isinstance(x, Distribution)
            part = lambda x: _changed(x, change) if is_dist(x) else x
            new[field.name] = jax.tree.map(part, value, is_leaf=is_dist)
    return replace(dist, **new)


def _kinds(dist: Distribution, leaves: list[Any]) -> list[tuple[Any, bool]]:
    """The dtype of every variable, a leaf of a draw, and whether it is discrete."""
    support = dist.support
    parts: tuple[Any, ...] = (support,) * len(leaves)
    if isinstance(support, Product) and len(support.parts) == len(leaves):
        parts = support.parts
    kinds = []
    for leaf, part in zip(leaves, parts):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            kinds.append((jnp.result_type(float), part.discrete))
        else:
            kinds.append((leaf.dtype, True))
    return kinds
