"""The base class of guides: a distribution over named variables, made of a base over one array and a map to the variables."""

import abc
import functools
from collections.abc import Generator
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from logtrick._core.kernel import detached
from logtrick._core.keys import as_key
from logtrick._core.module import static
from logtrick.distributions import ClosedForms, Distribution, value_of
from logtrick.estimators import Pathwise
from logtrick.noise import rows
from logtrick.programs import sample
from logtrick.supports import Product, Support
from logtrick.vi._flat import Layout

Array = jax.Array
_MOMENT_DRAWS = 2**14


class Guide(Distribution, abstract=True):
    """An approximating distribution q over a pytree of named variables; its leaves are what is fitted.

    A draw is z = T(x): x from `base`, a distribution over one array, and T the map to the variables. So
    log q(z) = log base(x) − log |det ∂T/∂x|, which needs no inverse where x is at hand. A guide is an `lt.Distribution`.

    Subclasses define `base`, and where T is not the identity of their `layout`, `constrain`, `unconstrain`, `log_det`.

    Attributes:
      layout: how the variables and the flat vector correspond.
      flat_normal: whether the flat vector is normal.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from logtrick import vi
      >>> q = vi.MeanFieldNormal(like={"mu": 0.0, "tau": 1.0}, support={"tau": vi.positive})
      >>> z = q.sample(jax.random.key(0))
      >>> sorted(z), q.log_prob(z).shape, q.sample(jax.random.key(0), 5)["tau"].shape
      (['mu', 'tau'], (), (5,))
    """

    layout: Layout = static()
    flat_normal: ClassVar[bool] = False

    # --- what a guide defines

    @property
    @abc.abstractmethod
    def base(self) -> Distribution:
        """The distribution of x, whose draws the map takes to the variables."""

    @property
    def discrete(self) -> bool:
        """Whether some of its variables are discrete."""
        return any(v.discrete for v in self.layout.variables)

    @property
    def pathwise(self) -> bool:
        """Whether all sites of `draw_program` can be drawn pathwise, but those that are summed exactly."""
        return self.base.reparameterized

    @property
    def strata(self) -> int:
        """How many points a draw consists of, one in every stratum."""
        return 1

    def constrain(self, x: Any) -> Any:
        """The variables z = T(x)."""
        return self.layout.constrain(x)

    def unconstrain(self, z: Any) -> Any:
        """x = T⁻¹(z)."""
        return self.layout.unconstrain(z)

    def log_det(self, x: Any) -> Array:
        """log |det ∂T(x)/∂x|, shape ()."""
        return self.layout.log_det(x)

    def inside(self, z: Any) -> Array:
        """Whether z is in the image of T."""
        return self.layout.inside(z)

    def draw_program(self, estimators: Any, name: str | None = None) -> Generator[Any, Any, Any]:
        """The sites that draw x, each with its estimator: a part of a program, for `yield from`.

        Args:
          estimators: the estimator of the site; of `Blocks` a dict of those of the blocks.
          name: of the site.
        Returns:
          x, as the value of the generator.
        """
        x = yield sample(self.base, estimators, name)
        return x

    def normal(self) -> tuple[Array, Array] | None:
        """Mean and scale of a normal on the flat vector that stands for the guide as a start; None where there is none.

        Returns:
          The mean, shape (d,), and a scale: (d,) for independent coordinates, or a square root (d, d) of the covariance.
        """
        return None

    def at_normal(self, mean: Any, scale: Any) -> "Guide":
        """The guide of the same family nearest to a normal on the flat vector, given as in `normal`.

        Raises:
          ValueError: the family cannot start from one.
        """
        raise ValueError(
            f"{type(self).__name__} cannot start from a normal. Pass its parameters to its constructor."
        )

    def hold(self, estimators: Any) -> "Guide":
        """The guide for log q inside of the expectation: held constant, except under the plain pathwise estimator.

        E[∇ log q(x)] = 0 at fixed x, so that leaving it out is unbiased to first order. With a score function it would only
        add its variance; with `Pathwise` leaving it out is another estimator, `STL`.
        """
        return self if isinstance(estimators, Pathwise) else detached(self)

    # --- what everybody calls

    @property
    def dim(self) -> int:
        """The length of the flat vector."""
        return self.layout.dim

    def sample(self, key: Any, n: int | None = None) -> Any:
        """One draw, or `n` of them with a leading axis; the first of n is the one draw of the same key.

        Args:
          key: a typed key.
          n: how many; None for one without a leading axis.
        Returns:
          A pytree of variables, in their supports.
        Raises:
          UnaccountedRandomnessError: differentiated, where the base is not reparameterized.
        """
        count = 1 if n is None else n
        draws = jax.vmap(self.transform)(rows(self.noise_spec, as_key(key), 0, count, count))
        return jax.tree.map(lambda a: a[0], draws) if n is None else draws

    def flatten(self, x: Any) -> tuple[Array, Array]:
        """The flat unconstrained vector u of x, and log |det ∂u/∂x|, shapes (d,) and ()."""
        return ravel(x), jnp.zeros(())

    def flat_draws(self, key: Any, n: int) -> tuple[Array, Array]:
        """The flat vectors of `q.sample(key, n)`, with their log densities there: for diagnostics.

        Args:
          key: a typed key.
          n: how many.
        Returns:
          `(u, log_q)`, shapes (n, d) and (n,): the flat unconstrained vectors and log q(u), the log-determinant not
          included. For discrete variables u holds them as floats.
        """
        return _flat_draws(self, as_key(key), n)

    def stddev(self) -> Any:
        """The standard deviation of every entry of the variables, shaped like a draw."""
        return jax.tree.map(jnp.sqrt, self.variance())

    # --- a distribution, by its base

    @property
    def reparameterized(self) -> bool:
        return self.base.reparameterized

    @property
    def event_shape(self) -> Any:
        return self.layout.shapes

    @property
    def support(self) -> Support:
        if self.discrete:
            return self.base.support
        return Product(tuple(v.support for v in self.layout.variables))

    @property
    def closed_forms(self) -> ClosedForms:
        return ClosedForms(self._mean, self._variance)

    @property
    def noise_spec(self) -> Any:
        return self.base.noise_spec

    def _transform(self, noise: Any) -> Any:
        return self.constrain(value_of(self.base._draw_with(lambda tree: tree, noise)))

    def _log_prob(self, z: Any) -> Array:
        inside = self.inside(z)
        # The center takes the place of a point outside, where the inverse has nan derivatives.
        safe = jax.lax.stop_gradient(self.constrain(self._center()))
        z = jax.tree.map(lambda a, b: jnp.where(inside, a, b), z, safe)
        x = self.unconstrain(z)
        return jnp.where(inside, self.base.log_prob(x) - self.log_det(x), -jnp.inf)

    def _center(self) -> Any:
        return jnp.zeros((self.layout.dim,), self.layout.dtype)

    def _mean(self) -> Any:
        return moments_of(self)[0]

    def _variance(self) -> Any:
        return moments_of(self)[1]


def ravel(x: Any) -> Array:
    """One draw of a base, an array or a pytree of arrays, as a vector of floats."""
    leaves = [jnp.ravel(jnp.asarray(leaf)) for leaf in jax.tree.leaves(x)]
    dtype = jnp.result_type(
        float, *(v.dtype for v in leaves if jnp.issubdtype(v.dtype, jnp.floating))
    )
    return jnp.concatenate([v.astype(dtype) for v in leaves])


@functools.partial(jax.jit, static_argnums=2)
def _flat_draws(q: Guide, key: Array, n: int) -> tuple[Array, Array]:
    noise = rows(q.base.noise_spec, key, 0, n, n)
    base = q.base

    def one(noise: Any) -> tuple[Array, Array]:
        x = base.draw(noise)
        u, log_det = q.flatten(value_of(x))
        return u, base.log_prob(x) - log_det

    return jax.vmap(one)(noise)


@jax.jit
def moments_of(q: Guide) -> tuple[Any, Any]:
    """Mean and variance from draws by a fixed key, antithetic where the noise has an antithesis."""
    half = rows(q.noise_spec, jax.random.key(0), 0, _MOMENT_DRAWS // 2, _MOMENT_DRAWS // 2)
    draw = jax.vmap(q.draw)
    draws = draw(half)
    if q.base.has_numeric_noise:
        mirrored = draw(jax.vmap(q.reflect)(half))
        draws = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), draws, mirrored)
    return jax.tree.map(lambda a: jnp.mean(a, 0), draws), jax.tree.map(
        lambda a: jnp.var(a, 0), draws
    )
