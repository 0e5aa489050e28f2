"""Supports: where a distribution's draws live. Objects, so that each can name a bijector to it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core.compat import is_tracer
from logtrick._core.module import Module, static


class Support(Module, abstract=True):
    """The set that a distribution's draws live in.

    Attributes:
      discrete: whether the set is countable, whatever the dtype of the draws.
      finite: whether the set is finite, so that it can be enumerated.
      whole_space: whether the set is all of Rⁿ, which no shift or scale moves.

    Example:
      >>> import logtrick as lt
      >>> lt.Bernoulli(0.0).support.finite, lt.Poisson(2.0).support.finite
      (True, False)
    """

    discrete = False
    finite = False
    whole_space = False

    def contains(self, x: Any) -> jax.Array:
        """Whether `x`, one draw, is in the closure of the set (a draw may round onto its edge), shape ().

        True where membership is not checked (`Unknown`, `Countable`, `Finite` and the Cholesky factors).
        """
        return jnp.asarray(True)


class Real(Support):
    """The real line, in every coordinate.

    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> support = lt.Normal(0.0, 1.0).support
      >>> bool(support.contains(jnp.array([-3.0, 2.0]))), bool(support.contains(jnp.array([0.0, jnp.nan])))
      (True, False)
    """

    whole_space = True

    def contains(self, x: Any) -> jax.Array:
        return ~jnp.any(jnp.isnan(x))


class Positive(Support):
    """(0, ∞) in every coordinate.

    Example:
      >>> import logtrick as lt
      >>> support = lt.Gamma(2.0, 1.0).support
      >>> bool(support.contains(3.0)), bool(support.contains(-1.0))
      (True, False)
    """

    def contains(self, x: Any) -> jax.Array:
        return jnp.all(x >= 0)


class UnitInterval(Support):
    """(0, 1) in every coordinate.

    Example:
      >>> import logtrick as lt
      >>> support = lt.Beta(2.0, 1.0).support
      >>> bool(support.contains(0.5)), bool(support.contains(1.5))
      (True, False)
    """

    def contains(self, x: Any) -> jax.Array:
        return jnp.all((x >= 0) & (x <= 1))


class Interval(Support):
    """(low, high) in every coordinate.

    Args:
      low: the lower ends, shape () or that of a draw.
      high: the upper ends, likewise.
    Example:
      >>> import logtrick as lt
      >>> support = lt.supports.Interval(-1.0, 2.0)
      >>> bool(support.contains(1.5)), bool(support.contains(3.0))
      (True, False)
    """

    low: Any = 0.0
    high: Any = 1.0

    def contains(self, x: Any) -> jax.Array:
        with jax.numpy_rank_promotion("allow"):  # the ends may be scalars
            return jnp.all((x >= self.low) & (x <= self.high))


class Simplex(Support):
    """Rows of non-negative entries that sum to 1.

    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> support = lt.Dirichlet(jnp.ones(3)).support
      >>> bool(support.contains(jnp.array([0.2, 0.3, 0.5]))), bool(support.contains(jnp.array([0.2, 0.2, 0.2])))
      (True, False)
    """

    def contains(self, x: Any) -> jax.Array:
        slack = 8 * x.shape[-1] * jnp.finfo(x.dtype).eps
        return jnp.all(x >= 0) & jnp.all(jnp.abs(jnp.sum(x, axis=-1) - 1) <= slack)


class Ordered(Support):
    """Rows that ascend.

    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> support = lt.supports.Ordered()
      >>> bool(support.contains(jnp.array([1.0, 2.0]))), bool(support.contains(jnp.array([2.0, 1.0])))
      (True, False)
    """

    def contains(self, x: Any) -> jax.Array:
        return jnp.all(jnp.diff(x, axis=-1) >= 0)


class CovarianceCholesky(Support):
    """Lower-triangular matrices with a positive diagonal.

    Example:
      >>> import logtrick as lt
      >>> lt.bijectors.CholeskyCovariance().image(lt.supports.Real())
      CovarianceCholesky()
    """


class CorrelationCholesky(Support):
    """Lower-triangular matrices with a positive diagonal and rows of length 1.

    Example:
      >>> import logtrick as lt
      >>> lt.bijectors.CholeskyCorrelation().image(lt.supports.Real())
      CorrelationCholesky()
    """


class Boolean(Support):
    """{0, 1} in every coordinate.

    Example:
      >>> import logtrick as lt
      >>> support = lt.Bernoulli(0.0).support
      >>> bool(support.contains(1.0)), bool(support.contains(0.5))
      (True, False)
    """

    discrete = True
    finite = True

    def contains(self, x: Any) -> jax.Array:
        return jnp.all((x == 0) | (x == 1))


class NonNegativeInteger(Support):
    """0, 1, 2, … in every coordinate.

    Example:
      >>> import logtrick as lt
      >>> support = lt.Poisson(2.0).support
      >>> bool(support.contains(3.0)), bool(support.contains(2.5))
      (True, False)
    """

    discrete = True

    def contains(self, x: Any) -> jax.Array:
        return jnp.all((x >= 0) & (x - jnp.floor(x) == 0))  # ∞ − ∞ is nan


class IntegerBelow(Support):
    """0 … size − 1.

    Args:
      size: the number of values.
    Example:
      >>> import logtrick as lt
      >>> support = lt.supports.IntegerBelow(3)
      >>> bool(support.contains(2)), bool(support.contains(3))
      (True, False)
    """

    size: int = static(default=2)
    discrete = True
    finite = True

    def contains(self, x: Any) -> jax.Array:
        return jnp.all((x >= 0) & (x < self.size) & (x == jnp.floor(x)))


class OneHot(Support):
    """One-hot rows of `size` entries.

    Args:
      size: the number of entries of a row.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> support = lt.supports.OneHot(2)
      >>> bool(support.contains(jnp.array([0.0, 1.0]))), bool(support.contains(jnp.array([1.0, 1.0])))
      (True, False)
    """

    size: int = static(default=2)
    discrete = True
    finite = True

    def contains(self, x: Any) -> jax.Array:
        return jnp.all((x == 0) | (x == 1)) & jnp.all(jnp.sum(x, axis=-1) == 1)


class Permutation(Support):
    """The permutations of 0 … size − 1; with `length`, the first `length` entries of them.

    Args:
      size: the number of items.
      length: how many of them are ranked; None for all.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> support = lt.supports.Permutation(3)
      >>> bool(support.contains(jnp.array([2, 0, 1]))), bool(support.contains(jnp.array([2, 2, 1])))
      (True, False)
    """

    size: int = static(default=1)
    length: int | None = static(default=None)
    discrete = True
    finite = True

    def contains(self, x: Any) -> jax.Array:
        in_order = jnp.sort(x)
        items = jnp.all((x >= 0) & (x < self.size) & (x == jnp.floor(x)))
        return items & jnp.all(in_order[1:] > in_order[:-1])


class Countable(Support):
    """Countably many values, which are not declared.

    Example:
      >>> import logtrick as lt
      >>> lt.supports.Countable().discrete, lt.supports.Countable().finite
      (True, False)
    """

    discrete = True


class Finite(Support):
    """Finitely many values, those that `enumerate` lists.

    Example:
      >>> import logtrick as lt
      >>> lt.supports.Finite().discrete, lt.supports.Finite().finite
      (True, True)
    """

    discrete = True
    finite = True


class Product(Support):
    """The product of several supports.

    Args:
      parts: a tuple of supports.
    Example:
      >>> import logtrick as lt
      >>> lt.supports.Product((lt.supports.Boolean(), lt.supports.Boolean())).finite
      True
      >>> lt.supports.Product((lt.supports.Boolean(), lt.supports.Real())).finite
      False
    """

    parts: tuple[Support, ...] = ()

    @property
    def discrete(self) -> bool:  # type: ignore[override]  # a class attribute elsewhere, here of the parts
        return all(part.discrete for part in self.parts)

    @property
    def finite(self) -> bool:  # type: ignore[override]  # as above
        return all(part.finite for part in self.parts)


class Unknown(Support):
    """Nothing is declared: a user's own family.

    Example:
      >>> import jax, logtrick as lt
      >>> lt.distribution(lambda rate, x: -rate * x, lambda key, rate: jax.random.exponential(key) / rate)(2.0).support
      Unknown()
    """


def grid(values: np.ndarray, shape: tuple[int, ...], dtype: Any, limit: int = 2**20) -> np.ndarray:
    """Every array of `shape` with entries from `values`: (len(values) ** size, *shape), last coordinate fastest.

    Args:
      values: the values of one entry.
      shape: of one array.
      dtype: of the arrays.
      limit: the largest number of arrays.
    Returns:
      The arrays, stacked.
    Raises:
      ValueError: there are more than `limit` arrays.
    Example:
      >>> import numpy as np, logtrick as lt
      >>> lt.supports.grid(np.array([0, 1]), (2,), float).tolist()
      [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    size = int(np.prod(shape, dtype=int))
    count = len(values) ** size
    if count > limit:
        raise ValueError(
            f"enumerating {len(values)}**{size} = {count} points exceeds {limit}. Use ScoreFunction()."
        )
    # The digits of 0, 1, 2, … to the base of the number of values. (`np.indices` takes at most 64 dimensions.)
    places = len(values) ** np.arange(size - 1, -1, -1, dtype=np.int64)
    index = np.arange(count)[:, None] // places[None] % len(values)
    return values[index].reshape(count, *shape).astype(dtype)


def union(where: str, each: list[Any]) -> Any:
    """The union of several lists of points, each a pytree of arrays with a leading axis.

    Args:
      where: the family that asks, for the message.
      each: the lists of points.
    Returns:
      The points of the union, each once, in the order of their first appearance.
    Raises:
      ValueError: the points are traced, so that equal ones cannot be recognized.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> lt.supports.union("Mine", [jnp.array([0, 1, 2]), jnp.array([1, 2, 3])]).tolist()
      [0, 1, 2, 3]
    """
    leaves, trees = zip(*(jax.tree.flatten(points) for points in each))
    if any(is_tracer(leaf) for points in leaves for leaf in points):
        raise ValueError(
            f"{where}.enumerate needs the points of components of unequal supports to be known; got traced ones. Use "
            "ScoreFunction()."
        )
    columns = [np.concatenate([np.asarray(p[i]) for p in leaves]) for i in range(len(leaves[0]))]
    rows = np.concatenate([c.reshape(len(c), -1).astype(np.float64) for c in columns], axis=1)
    first = np.sort(np.unique(rows, axis=0, return_index=True)[1])
    return jax.tree.unflatten(trees[0], [column[first] for column in columns])
