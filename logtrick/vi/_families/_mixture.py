"""A mixture of normals as a guide."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks
from logtrick._core.module import assign, replace
from logtrick.distributions import Categorical, Distribution, Mixture, MultivariateNormal
from logtrick.estimators import Enumerate
from logtrick.programs import sample
from logtrick.vi._engines._gaussian import square, triangular
from logtrick.vi._families._framed import Framed, exponentiated, logarithmic
from logtrick.vi._families._normal import deviations, start
from logtrick.vi._flat import layout_of

Array = jax.Array
_LIGHT = -6.0  # nats below the largest: a mode with less mass gets no component


class MixtureOf(Framed):
    """A mixture of k normals of any covariance in the unconstrained space: Σⱼ wⱼ N(mⱼ, Lⱼ Lⱼᵀ), w = softmax(logits).

    Stratified: the expectation over the component is an exact sum, Σⱼ wⱼ E_j[·], and a draw is made in every component, so
    that the weights have exact derivatives and the components pathwise ones.

    Args:
      k: components, at least 1.
      like: a pytree of numbers or arrays in the constrained space: the shapes, and where q starts (as for `MeanFieldNormal`).
      support: a support, or a pytree of supports like `like` in which names may be left out (real).
      scale: the standard deviation to start from, shape () or (d,), of the whole mixture; the components' means are spread
        over it.
    Raises:
      TypeError: variables that are not floats; a k that is no static int.
      ValueError: names that `like` does not have; shapes that do not fit; a scale that is not positive.
    Example:
      >>> import jax.numpy as jnp
      >>> from logtrick import vi
      >>> q = vi.MixtureOf(2, like=jnp.zeros(1))
      >>> q.weights.tolist(), q.mean().shape
      ([0.5, 0.5], (1,))
    """

    logits: Any
    locs: Any
    factors: Any

    def __init__(self, k: int, like: Any, support: Any = None, *, scale: Any = 1.0) -> None:
        k = checks.positive_int("MixtureOf", "k", k)
        layout = layout_of("MixtureOf", like, support)
        spread = jax.random.normal(jax.random.key(0), (k, layout.dim), layout.dtype)
        spread = spread - jnp.mean(spread, axis=0, keepdims=True)
        assign(
            self,
            layout=layout,
            center=start("MixtureOf", None, like, layout),
            frame=deviations("MixtureOf", scale, layout),
            logits=jnp.zeros((k,), layout.dtype),
            locs=spread,
            factors=jnp.zeros((k, layout.dim, layout.dim), layout.dtype),
        )

    @property
    def weights(self) -> Array:
        """w, shape (k,)."""
        return jax.nn.softmax(self.logits)

    @property
    def base(self) -> Distribution:
        return Mixture(self.logits, jax.vmap(MultivariateNormal)(self.locs, self._trils()))

    @property
    def pathwise(self) -> bool:
        return True

    @property
    def strata(self) -> int:
        return self.logits.shape[0]

    def at_modes(self, modes: Sequence[Mapping[str, Any]]) -> "MixtureOf":
        """A component at each of the k largest modes that have some mass; further components are spread around them."""
        heavy = [mode for mode in modes if mode["log_ratio"] > _LIGHT][: self.strata]
        if len(heavy) < 2:
            return self
        inverse = np.linalg.inv(square(self.frame))
        locs, factors, logits = [], [], []
        for j in range(self.strata):
            mode = heavy[j % len(heavy)]
            scale = inverse @ square(mode["scale"])
            loc = inverse @ (np.asarray(mode["mean"]) - np.asarray(self.center, np.float64))
            if j >= len(heavy):
                loc = loc + triangular(scale) @ np.asarray(self.locs[j], np.float64)
            locs.append(loc)
            factors.append(logarithmic(scale))
            logits.append(mode["log_ratio"])
        dtype = self.layout.dtype
        new = (jnp.asarray(np.stack(rows), dtype) for rows in (locs, factors, logits))
        return replace(self, **dict(zip(("locs", "factors", "logits"), new)))

    def draw_program(self, estimators: Any, name: str | None = None) -> Generator[Any, Any, Any]:
        mixture = self.base
        index = yield sample(Categorical(self.logits), Enumerate())
        component = mixture.component(index)  # type: ignore[attr-defined]  # the base above
        x = yield sample(component, estimators, name)
        return x

    def _trils(self) -> Array:
        return jax.vmap(exponentiated)(self.factors)

    def _mean(self) -> Any:
        if not self.layout.whole_space:
            return super()._mean()
        return self.layout.unflatten(self.unwhitened(self.weights @ self.locs))

    def _variance(self) -> Any:
        if not self.layout.whole_space:
            return super()._variance()
        frame = jnp.diag(self.frame) if self.frame.ndim == 1 else self.frame
        away = self.locs - (self.weights @ self.locs)[None]
        within = jnp.sum((frame[None] @ self._trils()) ** 2, axis=2)
        return self.layout.unflatten(self.weights @ (within + (away @ frame.T) ** 2))
