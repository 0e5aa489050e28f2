"""Amortized inference: a guide for every row of data, by one function."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.calls import in_words
from logtrick._core.keys import as_key
from logtrick._core.module import Module, static
from logtrick._core.show import show_arguments
from logtrick.vi._families._wrapped import as_guide
from logtrick.vi._guide import Guide
from logtrick.vi._loss import loss
from logtrick.vi._minibatch import checked_rows
from logtrick.vi._over_data import OverData

Array = jax.Array


class Amortized(Module):
    """q(z | x): a guide for every row x, by a function with parameters (an encoder).

    Args:
      encode: `encode(params, x)`, of one row, returns a guide or an `lt.Distribution`.
      params: a pytree of float arrays, what is fitted.
    Raises:
      TypeError: `encode` is no function.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> from logtrick import vi
      >>> q = vi.Amortized(lambda w, x: lt.Normal(w * x, 1.0), jnp.array(0.5))
      >>> q(4.0).mean().item()
      2.0
    """

    encode: Callable[[Any, Any], Any] = static()
    params: Any

    def __post_init__(self) -> None:
        if not callable(self.encode):
            raise TypeError(
                f"vi.Amortized(encode=…) needs a function of (params, x); got {type(self.encode).__name__}."
            )

    def __call__(self, x: Any) -> Guide:
        """The guide of one row."""
        return as_guide("vi.Amortized", self.encode(self.params, x))


class PerRow(OverData):
    """Σ over rows of log p(zᵢ, xᵢ), each row with latents of its own; made by `vi.per_row`.

    Args:
      log_joint: `log_joint(z, x) -> scalar` of one row's latents and the row; `log_joint(z, x, model)` with a model.
      data: a pytree of arrays with a common leading axis of N rows.
      batch_size: B rows a step; None takes all.
      model: the model's own parameters, which `vi.fit` trains beside the guide; None where there are none.
    Example:
      >>> import jax.numpy as jnp
      >>> from logtrick import vi
      >>> vi.per_row(lambda z, x: -0.5 * (x - z) ** 2, jnp.arange(20.0), batch_size=5).num_rows
      20
    """

    __repr__ = show_arguments
    compared_by = ("log_joint", "data", "batch_size", "num_rows", "model")

    def __init__(
        self, log_joint: Callable[..., Any], data: Any, batch_size: int | None, model: Any = None
    ) -> None:
        self.log_joint, self.data, self.model = log_joint, data, model
        self.batch_size = batch_size
        self.num_rows = jax.tree.leaves(data)[0].shape[0]

    def without_data(self) -> "PerRow":
        """The same function without its data, and without the model's parameters, which are trained."""
        bare = super().without_data()
        bare.model = None
        return bare

    def of_row(self, row: Any, model: Any = None) -> Callable[[Any], Array]:
        """The log density of one row's latents, given the model's parameters (None for none)."""
        further = () if model is None else (model,)
        joint = lambda z: self.log_joint(z, row, *further)
        return lambda z: checks.scalar_log_prob("vi.per_row: log_joint", joint(z))


@in_words("vi.per_row")
def per_row(
    log_joint: Callable[..., Any], data: Any, batch_size: int | None = None, *, model: Any = None
) -> PerRow:
    """A log density over latents of every row of data, for `vi.fit` of a `vi.Amortized` guide.

    The ELBO is a sum over rows; a step sees N/B times the sum over B rows, each with draws and estimator of its own, which
    keeps the variance of score functions that of one row.

    A model with parameters of its own (the decoder of an autoencoder, the means of a mixture) is passed as `model`: the same
    fit trains them by the same ELBO, and `fit.model` has them.

    Args:
      log_joint: `log_joint(z, x) -> scalar` of one row's latents and the row; `log_joint(z, x, model)` with a model.
      data: a pytree of arrays with a common leading axis of N rows.
      batch_size: B rows a step, drawn with replacement; None takes all.
      model: a pytree of float arrays, the model's parameters to start from; None where it has none.
    Returns:
      What stands in the place of `log_density` in `vi.fit`.
    Raises:
      TypeError: `log_joint` is no function of these arguments.
      ValueError: rows that do not match; a batch larger than the data.
    References:
      Kingma & Welling (2014), "Auto-Encoding Variational Bayes"; Mnih & Gregor (2014), "Neural Variational Inference and
      Learning in Belief Networks".
    Example:
      >>> import jax, jax.numpy as jnp, optax, logtrick as lt
      >>> from logtrick import vi
      >>> x = jnp.linspace(-1.0, 1.0, 20)
      >>> density = vi.per_row(lambda z, x: -0.5 * z**2 - 0.5 * (x - z) ** 2, x)         # posterior mean x/2
      >>> q0 = vi.Amortized(lambda w, x: lt.Normal(w * x, jnp.sqrt(0.5)), jnp.array(0.0))
      >>> fit = vi.fit(jax.random.key(0), density, q0, max_steps=300)
      >>> round(fit.q.params.item(), 2)
      0.5

      Two clusters, their means unknown, the hidden label of every point with an encoder:

      >>> x = jnp.array([-2.2, -2.0, -1.8, 2.8, 3.0, 3.2])
      >>> log_joint = lambda z, x, means: -0.5 * (x - means[z]) ** 2                     # z is 0 or 1
      >>> density = vi.per_row(log_joint, x, model=jnp.array([-1.0, 1.0]))
      >>> q0 = vi.Amortized(lambda w, x: lt.Categorical(jnp.stack([0.0 * x, w * x])), jnp.array(0.0))
      >>> fit = vi.fit(jax.random.key(0), density, q0, optimizer=optax.adam(0.05), max_steps=500)
      >>> fit.model.round(1).tolist(), bool(fit.q.params > 2)
      ([-2.0, 3.0], True)
    """
    call = "log_joint(z, x)" if model is None else "log_joint(z, x, model)"
    checks.function("vi.per_row", "log_joint", log_joint, call)
    data = checked_rows("vi.per_row", data, batch_size)
    return PerRow(log_joint, data, batch_size, model)


def amortized_loss(
    key: Any, density: PerRow, q: Amortized, model: Any, batch: Any, **options: Any
) -> Array:
    """N/B Σ over the batch of `vi.loss` of each row, shape (); options as of `vi.loss`."""
    key = as_key(key)
    size = jax.tree.leaves(batch)[0].shape[0]

    def one(index: Array, row: Any) -> Array:
        return loss(jax.random.fold_in(key, index), density.of_row(row, model), q(row), **options)

    rows = jnp.arange(size, dtype=jnp.uint32)
    return density.num_rows / size * jnp.sum(jax.vmap(one)(rows, batch))
