"""A log density as a prior and a sum over rows of data, of which each step sees a few."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks
from logtrick._core.calls import in_words
from logtrick._core.show import show_arguments
from logtrick.vi._over_data import OverData

Array = jax.Array


class Minibatch(OverData):
    """log p(z, data) = log_prior(z) + Σ over rows of log_lik; made by `vi.minibatch`.

    Called with z alone it is the whole log density, for diagnosis.

    Args:
      log_prior: `log_prior(z) -> scalar`, all that does not depend on the data.
      log_lik: `log_lik(z, rows)`, of several rows: their sum, or one number for each.
      data: a pytree of arrays with a common leading axis of N rows.
      batch_size: B, the number of rows of a batch.
    Example:
      >>> import jax.numpy as jnp
      >>> from logtrick import vi
      >>> density = vi.minibatch(lambda z: -0.5 * z**2, lambda z, x: -0.5 * (x - z) ** 2, jnp.arange(4.0), 2)
      >>> density(0.0).item(), density.on(0.0, jnp.array([1.0, 2.0])).item()       # 4/2 × the sum over the batch
      (-7.0, -5.0)
    """

    __repr__ = show_arguments
    compared_by = ("log_prior", "log_lik", "data", "batch_size", "num_rows")

    def __init__(
        self,
        log_prior: Callable[[Any], Any],
        log_lik: Callable[[Any, Any], Any],
        data: Any,
        batch_size: int,
    ) -> None:
        self.log_prior, self.log_lik, self.data = log_prior, log_lik, data
        self.batch_size = batch_size
        self.num_rows = jax.tree.leaves(data)[0].shape[0]

    def __call__(self, z: Any) -> Array:
        """The log density given all rows, shape ()."""
        return self.given(z, self.data)

    def given(self, z: Any, data: Any) -> Array:
        """The log density given all rows of some data, shape ()."""
        return self._prior(z) + self.rows(z, data)

    def on(self, z: Any, batch: Any) -> Array:
        """The estimate from a batch of rows: log_prior(z) + N/B Σ over the batch, shape ()."""
        size = jax.tree.leaves(batch)[0].shape[0]
        return self._prior(z) + self.num_rows / size * self.rows(z, batch)

    def rows(self, z: Any, batch: Any) -> Array:
        """Σ over the rows of `batch` of the log likelihood, shape ()."""
        found = checks.real("vi.minibatch", "log_lik", self.log_lik(z, batch))
        size = jax.tree.leaves(batch)[0].shape[0]
        if found.shape not in ((), (size,)):
            raise ValueError(
                f"vi.minibatch(log_lik=…) must return the sum over its {size} rows, shape (), or one number for each, shape "
                f"({size},); got shape {found.shape}. Sum over all other axes."
            )
        return jnp.sum(found)

    def check(self, z: Any) -> None:
        """Refuse a log likelihood that is no sum over rows, as far as halves of the data at one z show it."""
        half = self.num_rows // 2
        first = jax.tree.map(lambda a: a[:half], self.data)
        second = jax.tree.map(lambda a: a[half:], self.data)
        whole, *parts = (float(self.rows(z, part)) for part in (self.data, first, second))
        size = max(abs(x) for x in (whole, *parts)) + 1.0
        if np.isfinite([whole, *parts]).all() and abs(whole - sum(parts)) > 1e-3 * size:
            raise ValueError(
                f"vi.minibatch(log_lik=…) needs a sum over rows; got {whole:.6g} on all rows and {parts[0]:.6g} + "
                f"{parts[1]:.6g} on its halves. Return a sum over the rows, or one number for each row; a mean is a sum "
                "divided by the number of rows."
            )

    def _prior(self, z: Any) -> Array:
        return checks.scalar_log_prob("vi.minibatch: log_prior", self.log_prior(z))


@in_words("vi.minibatch")
def minibatch(
    log_prior: Callable[[Any], Any], log_lik: Callable[[Any, Any], Any], data: Any, batch_size: int
) -> Minibatch:
    """A log density whose likelihood is a sum over rows of data, to be fitted on batches of them.

    Each step sees log_prior(z) + N/B Σ_batch log p(row | z), B rows drawn with replacement: unbiased for the ELBO. The factor
    N/B is put on here; `log_lik` is the plain sum. What is biased on batches is refused by `vi.fit`: k-draw bounds,
    normalized weights and closed-form engines, which are no expectations of a sum.

    Args:
      log_prior: `log_prior(z) -> scalar`, all that does not depend on the data.
      log_lik: `log_lik(z, rows)`, of several rows (a leading axis): their sum, or one number for each.
      data: a pytree of arrays with a common leading axis of N rows.
      batch_size: B, at most N.
    Returns:
      What stands in the place of `log_density` in `vi.fit` and `vi.diagnose`.
    Raises:
      TypeError: no functions of these arguments.
      ValueError: rows that do not match; a batch larger than the data.
    Example:
      >>> import jax, jax.numpy as jnp
      >>> from logtrick import vi
      >>> y = jnp.arange(100.0) / 100
      >>> density = vi.minibatch(lambda z: -0.5 * z**2, lambda z, y: -0.5 * (y - z) ** 2, y, batch_size=10)
      >>> density(0.0).item() == density.on(0.0, y).item(), round(density.on(0.0, y[:10]).item(), 4)
      (True, -0.1425)
    """
    batch_size = checks.positive_int("vi.minibatch", "batch_size", batch_size)
    checks.function("vi.minibatch", "log_prior", log_prior, "log_prior(z)")
    checks.function("vi.minibatch", "log_lik", log_lik, "log_lik(z, rows)")
    return Minibatch(log_prior, log_lik, checked_rows("vi.minibatch", data, batch_size), batch_size)


def checked_rows(where: str, data: Any, batch_size: int | None) -> Any:
    """The data as arrays of one number of rows, at least a batch."""
    data = jax.tree.map(lambda leaf: checks.array(where, "data", leaf), data)
    rows = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(data)}
    if len(rows) != 1 or rows == {()}:
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(data)]
        raise ValueError(
            f"{where}(data=…) needs arrays with one leading axis of rows in common; got {shapes}."
        )
    if batch_size is not None:
        batch_size = checks.positive_int(where, "batch_size", batch_size)
        if batch_size > min(rows)[0]:
            raise ValueError(
                f"{where}(batch_size=…) needs at most the {min(rows)[0]} rows of data; got {batch_size}."
            )
    return data
