"""The last checkpoints of a fit side by side, on fresh draws."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks, keys
from logtrick._core.calls import described, in_words
from logtrick._core.keys import as_key
from logtrick._core.module import Module, static
from logtrick._core.objectives import value_and_aux
from logtrick.training._folder import absolute, steps
from logtrick.training._store import read_params

_BLOCK = 64  # replicates evaluated at once


class CheckpointComparison(Module):
    """What `lt.training.compare_checkpoints` found; one entry for each set of parameters, the newest last.

    Attributes:
      names: the steps, or the names that were given.
      mean: the mean of the objective over the replicates.
      standard_error: the standard error of each mean.
      difference: each mean minus that of the newest parameters, on the same draws.
      difference_error: the standard error of the difference; smaller than those of the means where the same draws give
        similar values.
      num_replicates: how many values each mean is taken over.
    """

    names: tuple[Any, ...] = static()
    mean: Any
    standard_error: Any
    difference: Any
    difference_error: Any
    num_replicates: int = static()

    def _rows(self) -> list[list[str]]:
        columns = (self.mean, self.standard_error, self.difference, self.difference_error)
        rows = [["checkpoint", "mean", "± error", "minus the newest", "± error"]]
        for i, name in enumerate(self.names):
            rows.append([str(name), *(f"{column[i]:.6g}" for column in columns)])
        return rows

    def __repr__(self) -> str:
        rows = self._rows()
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.rjust(w) for cell, w in zip(row, widths)) for row in rows]
        return "\n".join([*lines, f"{self.num_replicates:,} replicates on the same fresh keys"])

    def _repr_html_(self) -> str:
        head, *rows = self._rows()
        row = lambda cells, tag: "".join(f"<{tag}>{cell}</{tag}>" for cell in cells)
        body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in rows)
        return (
            f"<table><caption>{self.num_replicates:,} replicates on the same fresh keys</caption>"
            f"<tr>{row(head, 'th')}</tr>{body}</table>"
        )


@in_words("lt.training.compare_checkpoints", further=((int, "num_replicates"),))
def compare_checkpoints(
    key: Any,
    objective: Callable[..., Any],
    checkpoints: str | pathlib.Path | Mapping[Any, Any] | Sequence[Any],
    *,
    num_replicates: int,
    like: Any = None,
    data: Any = None,
) -> CheckpointComparison:
    """Compare the last checkpoints of a fit on fresh draws: means of the objective, and their differences, with errors.

    The smallest value that a noisy fit has recorded is partly small by luck, so it does not tell the best iterate. Here
    every set of parameters is evaluated on the same n fresh keys (common random numbers), and its difference to the newest
    set has a standard error of its own. The largest of K differences is still large by luck: judge it by about 3 standard
    errors.

    Args:
      key: a typed key other than the fit's; the draws of replicate i depend on this key and i alone.
      objective: `objective(params, key) -> value`, or `(value, aux)`; with `data`, `objective(params, key, data)`.
      checkpoints: a folder of `checkpoint=`, which needs `like`; or parameters by name; or a list of parameters, the newest
        last.
      num_replicates: n ≥ 2.
      like: the form of the parameters, a pytree of arrays or of shapes, where they are read from a folder.
      data: the objective's third argument; None for none.
    Returns:
      A `CheckpointComparison`.
    Raises:
      TypeError: no folder, mapping or sequence.
      ValueError: no checkpoints, one replicate, an objective that is no scalar.
      CheckpointError: a checkpoint is damaged, or of another form.
    Example:
      >>> import jax, logtrick as lt
      >>> objective = lambda mu, key: lt.expect(key, lambda x: x**2, lt.Normal(mu, 1.0), num_samples=16)
      >>> found = lt.training.compare_checkpoints(
      ...     jax.random.key(1), objective, {"early": 2.0, "late": 1.0}, num_replicates=1000)
      >>> found.mean.round().tolist(), found.difference.round().tolist()        # exact: 5 and 2
      ([5.0, 2.0], [3.0, 0.0])
    """
    where = "lt.training.compare_checkpoints"
    key = as_key(key)
    num_replicates = checks.positive_int(where, "num_replicates", num_replicates, 2)
    given = _parameters(where, checkpoints, like)
    extra = () if data is None else (jax.tree.map(jnp.asarray, data),)
    base = jax.random.fold_in(key, keys.REPLICATE)
    indices = jnp.arange(num_replicates, dtype=jnp.int32)

    @jax.jit
    def values(params: Any, extra: tuple[Any, ...]) -> Any:
        def one(i: Any) -> Any:
            out = objective(params, jax.random.fold_in(base, i), *extra)
            value, _ = value_and_aux(where, out)
            return checks.scalar_cost(f"{where}: the objective", value)

        return jax.lax.map(one, indices, batch_size=min(_BLOCK, num_replicates))

    arrays = [jax.tree.map(jnp.asarray, params) for params in given.values()]
    found = np.stack([np.asarray(values(params, extra), np.float64) for params in arrays])
    apart = found - found[-1]
    error = lambda x: x.std(axis=1, ddof=1) / np.sqrt(num_replicates)
    return CheckpointComparison(
        names=tuple(given),
        mean=found.mean(axis=1),
        standard_error=error(found),
        difference=apart.mean(axis=1),
        difference_error=error(apart),
        num_replicates=num_replicates,
    )


def _parameters(where: str, checkpoints: Any, like: Any) -> dict[Any, Any]:
    """The parameters by name, the newest last."""
    if isinstance(checkpoints, str | pathlib.Path):
        if like is None:
            raise ValueError(
                f"{where}(like=…) needs the form of the parameters to read them from a folder. Pass the initial parameters."
            )
        given = {n: read_params(checkpoints, like, step=n) for n in steps(absolute(checkpoints))}
    elif isinstance(checkpoints, Mapping):
        given = dict(checkpoints)
    elif isinstance(checkpoints, Sequence):
        given = dict(enumerate(checkpoints))
    else:
        raise TypeError(
            f"{where}(checkpoints=…) needs a folder, a dict or a list of parameters; got {described(checkpoints)}."
        )
    if not given:
        raise ValueError(f"{where}(checkpoints=…) needs at least one set of parameters; got none.")
    return given
