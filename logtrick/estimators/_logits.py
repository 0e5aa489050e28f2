"""What estimators of bits and one-hot rows share: logits in at least float32, uniforms shaped like them."""

from typing import Any

import jax

from logtrick._core.kernel import stop
from logtrick.distributions import Distribution, Link, widened
from logtrick.noise import Uniform

Array = jax.Array


def logits_of(dist: Distribution) -> Array:
    """The logits, worked with in at least float32."""
    return widened(dist).logits  # declared by `link`


def link_of(dist: Distribution) -> Link:
    """The link, which `check_needs` has seen to."""
    assert dist.link is not None
    return dist.link


def uniforms(dist: Distribution, *leading: int) -> Uniform:
    """The noise of `leading` copies of the event."""
    logits = jax.eval_shape(logits_of, dist)
    return Uniform((*leading, *logits.shape), logits.dtype)


def as_draw(x: Array, dist: Distribution) -> Array:
    """`x` as a draw of `dist`: held constant, in its dtype."""
    return stop(x).astype(dist.logits.dtype)  # type: ignore[attr-defined]  # declared by `link`


def hard_draw(noise: Array, dist: Distribution) -> Array:
    """The draw that uniform noise makes, held constant."""
    link = link_of(dist)
    return as_draw(link.hard(link.perturbed(logits_of(dist), noise)), dist)


def against(points: Array, coefficients: Array) -> Array:
    """Σ_k coefficients[k] points[k], over the leading axis of `points`."""
    return jax.numpy.tensordot(coefficients.astype(points.dtype), points, 1)


def score(dist: Distribution, x: Any) -> Array:
    """∇ log p(x) with respect to the logits: x − E x, exactly 0 in expectation."""
    return x - link_of(dist).mean(logits_of(dist))
