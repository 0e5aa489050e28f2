"""What a family can do beyond drawing and scoring: one small object for each capability, or None where it has none."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class ClosedForms:
    """The expectations that a distribution knows in closed form; None for each that it does not.

    Attributes:
      mean: `mean()`, E x, shaped like a draw.
      variance: `variance()`, of every coordinate, shaped like a draw.
      entropy: `entropy()`, −E log p(x) in nats, shape ().
      kl_divergence: `kl_divergence(other)`, E log p(x) − log q(x) in nats, shape (), q of the same family and event shape.
      standardization: `standardization()`, mean and standard deviation of the unconstrained draw: x itself, log x of
        positive x, the logit of x in (0, 1).

    Example:
      >>> import logtrick as lt
      >>> forms = lt.Cauchy(0.0, 1.0).closed_forms
      >>> forms.mean is None, round(forms.entropy().item(), 4)                # log 4π
      (True, 2.531)
    """

    mean: Callable[[], Any] | None = None
    variance: Callable[[], Any] | None = None
    entropy: Callable[[], Array] | None = None
    kl_divergence: Callable[[Any], Array] | None = None
    standardization: Callable[[], tuple[Array, Array]] | None = None


@dataclasses.dataclass(frozen=True)
class Quantiles:
    """The distribution function of every coordinate, and its inverse; None for what a distribution does not have.

    Attributes:
      cdf: `cdf(x)`, P(X ≤ x) of every coordinate, shaped like a draw.
      inverse: `inverse(u)`, the smallest x with P(X ≤ x) ≥ u of every coordinate, u in (0, 1).
      differentiable: JAX can differentiate `cdf` in every parameter.

    Example:
      >>> import logtrick as lt
      >>> quantiles = lt.Exponential(2.0).quantiles
      >>> round(quantiles.cdf(1.0).item(), 4), round(quantiles.inverse(0.8647).item(), 2)     # 1 − e⁻²
      (0.8647, 1.0)
      >>> lt.Poisson(2.0).quantiles.inverse is None
      True
    """

    cdf: Callable[[Any], Array] | None = None
    inverse: Callable[[Array], Array] | None = None
    differentiable: bool = False


@dataclasses.dataclass(frozen=True)
class Factors:
    """log p as a sum of independent factors.

    Attributes:
      log_probs: `log_probs(x)`, the terms of log p(x), one for each coordinate of the event (one-hot rows: each row).

    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> lt.Normal(jnp.zeros(3), 1.0).independent_factors.log_probs(jnp.zeros(3)).shape
      (3,)
      >>> lt.PlackettLuce(jnp.zeros(3)).independent_factors is None
      True
    """

    log_probs: Callable[[Any], Array]


@dataclasses.dataclass(frozen=True)
class Enumeration:
    """The points of a finite support.

    Attributes:
      points: `points()`, every one of them once, with a leading axis.

    Example:
      >>> import logtrick as lt
      >>> lt.Bernoulli(0.0).enumeration.points().tolist(), lt.Poisson(2.0).enumeration is None
      ([0.0, 1.0], True)
    """

    points: Callable[[], Any]


def known(dist: Any, name: str, form: Callable[..., Any] | None) -> Callable[..., Any]:
    """`form`, or an error that says which of them `dist` has."""
    if form is None:
        raise ValueError(
            f"{type(dist).__name__} has no {name} in closed form; it has {_names_of(dist)}. Use lt.expect."
        )
    return form


def _names_of(dist: Any) -> list[str]:
    """What `dist` has in closed form, in the words of its methods."""
    forms: dict[str, Any] = dict(vars(dist.closed_forms))
    forms |= {"cdf": dist.quantiles.cdf, "inverse_cdf": dist.quantiles.inverse}
    return sorted(name for name, form in forms.items() if form is not None)
