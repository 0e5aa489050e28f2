"""Independent guides side by side, discrete and continuous ones alike."""

from collections.abc import Generator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.module import assign, replace
from logtrick.distributions import ClosedForms, Distribution, Joint
from logtrick.estimators import Estimator
from logtrick.supports import Product, Support
from logtrick.vi._families._wrapped import as_guide
from logtrick.vi._flat import combined
from logtrick.vi._guide import Guide, ravel

Array = jax.Array


class Blocks(Guide):
    """Independent guides side by side: q(z) = Π_b q_b(z_b), the draw a dict of the blocks' draws.

    Each block is a site of its own, with its own estimator of the gradient, so discrete and continuous variables stand in
    one guide.

    Args:
      parts: a guide (or a distribution) by block name; or a pair of it and an estimator for the block.
    Raises:
      TypeError: a block that is no guide; an estimator that is none.
      ValueError: no blocks.
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> from logtrick import vi
      >>> q = vi.Blocks(mu=vi.MeanFieldNormal(like=0.0), on=(vi.BernoulliProduct(like=jnp.zeros(3)), lt.DisARM()))
      >>> z = q.sample(jax.random.key(0))
      >>> z["mu"].shape, z["on"].shape
      ((), (3,))
    """

    parts: dict[str, Any]
    estimators: dict[str, Any]

    def __init__(self, **parts: Any) -> None:
        if not parts:
            raise ValueError(
                "vi.Blocks(…) needs at least one block; got none. Pass mu=vi.MeanFieldNormal(like=0.0), say."
            )
        guides, estimators = {}, {}
        for name, part in parts.items():
            pair = part if isinstance(part, tuple) and len(part) == 2 else (part, None)
            guides[name] = as_guide(f"vi.Blocks({name}=…)", pair[0])
            estimators[name] = pair[1]
        assign(
            self,
            parts=guides,
            estimators=estimators,
            layout=combined({name: guide.layout for name, guide in guides.items()}),
        )

    @property
    def base(self) -> Distribution:
        return Joint({name: part.base for name, part in self.parts.items()})

    @property
    def closed_forms(self) -> ClosedForms:
        with_entropy = all(part.closed_forms.entropy for part in self.parts.values())
        return ClosedForms(self._mean, self._variance, self._entropy if with_entropy else None)

    @property
    def support(self) -> Support:
        return Product(tuple(self.parts[name].support for name in sorted(self.parts)))

    @property
    def event_shape(self) -> Any:
        return {name: part.event_shape for name, part in self.parts.items()}

    def constrain(self, x: Any) -> Any:
        return {name: part.constrain(x[name]) for name, part in self.parts.items()}

    def unconstrain(self, z: Any) -> Any:
        return {name: part.unconstrain(z[name]) for name, part in self.parts.items()}

    def log_det(self, x: Any) -> Array:
        terms = [part.log_det(x[name]) for name, part in self.parts.items()]
        return sum(terms[1:], terms[0])

    def flatten(self, x: Any) -> tuple[Array, Array]:
        found = [self.parts[name].flatten(x[name]) for name in sorted(self.parts)]
        return ravel([u for u, _ in found]), sum((log_det for _, log_det in found), jnp.zeros(()))

    def marginals(self) -> Any:
        """The marginals of every discrete block, by its name."""
        return {
            name: part.marginals()
            for name, part in self.parts.items()
            if hasattr(part, "marginals")
        }

    def hold(self, estimators: Any) -> "Blocks":
        held = {name: part.hold(estimators[name]) for name, part in self.parts.items()}
        return replace(self, parts=held)

    def draw_program(self, estimators: Any, name: str | None = None) -> Generator[Any, Any, Any]:
        x = {}
        for block, part in self.parts.items():
            x[block] = yield from part.draw_program(estimators[block], block)
        return x

    def _transform(self, noise: Any) -> Any:
        return {name: part._transform(noise[name]) for name, part in self.parts.items()}

    def _draw_with(self, change: Any, noise: Any) -> Any:
        return {name: part._draw_with(change, noise[name]) for name, part in self.parts.items()}

    def _log_prob(self, z: Any) -> Array:
        terms = [part.log_prob(z[name]) for name, part in self.parts.items()]
        return sum(terms[1:], terms[0])

    def _mean(self) -> Any:
        return {name: part.mean() for name, part in self.parts.items()}

    def _variance(self) -> Any:
        return {name: part.variance() for name, part in self.parts.items()}

    def _entropy(self) -> Array:
        terms = [part.entropy() for part in self.parts.values()]
        return sum(terms[1:], terms[0])


def estimators_of(where: str, blocks: Blocks, given: Any) -> dict[str, Any]:
    """An estimator for every block, None for the default: `given` by name, or for all; then the block's own."""
    if isinstance(given, Mapping):
        unknown = sorted(set(given) - set(blocks.parts))
        if unknown:
            raise ValueError(
                f"{where}(estimator=…) names {', '.join(unknown)}; the blocks are {', '.join(blocks.parts)}."
            )
        return {name: given.get(name) or blocks.estimators[name] for name in blocks.parts}
    if isinstance(given, Estimator):
        return {name: blocks.estimators[name] or given for name in blocks.parts}
    return dict(blocks.estimators)
