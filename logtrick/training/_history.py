"""The record of a fit's steps."""

import html
from typing import Any

import numpy as np

from logtrick._core.module import Module

NUMBERS = ("value", "gradient_norm", "update_norm")
FLAGS = ("skipped", "clipped")


class History(Module):
    """What happened at each step: arrays of shape (steps,).

    Attributes:
      value: the objective in the user's sign, before the step's update; noisy where the objective is.
      gradient_norm: the Euclidean norm of the gradient of the loss, before clipping; inf where its square overflows.
      update_norm: the Euclidean norm of the optimizer's update.
      skipped: whether the step was skipped because its value, its gradient or its update was not finite.
      clipped: whether the freeze guard clipped the step's gradient.
      metrics: scalars by name: those of the objective's aux, the standard error of its expectation, the fraction of
        expectations without signal, and the learning rate where optax exposes it; nan at the steps of a resumed fit for which
        the objective did not return the scalar.
      series: what a listener recorded at some of the steps only, by the listener's name: a dict of arrays, `"step"` among
        them.

    Example:
      >>> import jax, optax, logtrick as lt
      >>> objective = lambda p, key: ((p - 3.0) ** 2, {"distance": abs(p - 3.0)})
      >>> lt.minimize(jax.random.key(0), objective, 0.0, optax.sgd(0.25), num_steps=3).history.metrics["distance"].tolist()
      [3.0, 1.5, 0.75]
    """

    value: Any
    gradient_norm: Any
    update_norm: Any
    skipped: Any
    clipped: Any
    metrics: dict[str, Any]
    series: dict[str, dict[str, Any]]

    def __repr__(self) -> str:
        if getattr(self.value, "ndim", None) != 1:
            return super().__repr__()
        columns = [*NUMBERS, *FLAGS]
        columns += [f"metrics[{name!r}]" for name in self.metrics]
        columns += [f"series[{name!r}]" for name in self.series]
        return f"History of {len(self.value)} steps: {', '.join(columns)}"

    def _repr_html_(self) -> str:
        if np.ndim(self.value) != 1:
            return f"<pre>{html.escape(repr(self))}</pre>"
        cells = ""
        for name, column in [*((n, getattr(self, n)) for n in NUMBERS), *self.metrics.items()]:
            first, last = ends(column)
            cells += f"<tr><td>{name}</td><td>{first:.6g}</td><td>{last:.6g}</td></tr>"
        count = end_length(self.value)
        return (
            f"<table><caption>{len(self.value)} steps; means of the first and of the last {count}"
            f"</caption><tr><th></th><th>first</th><th>last</th></tr>{cells}</table>"
        )

    def plot(self, ax: Any = None, window: int | None = None) -> Any:
        """Plot the objective against the step: every step as a faint line, a moving mean of the finite values on top.

        Where `lt.training.GradientNoise` was a listener, its signal-to-noise ratio is drawn against a second axis, as gray
        diamonds.

        Args:
          ax: a matplotlib axes; a new figure otherwise.
          window: the steps of the moving mean; None is a fiftieth of the fit.
        Returns:
          The axes.
        Raises:
          ImportError: matplotlib is not installed.
          ValueError: it is the history of several fits, under `jax.vmap`.
        """
        if np.ndim(self.value) != 1:
            raise ValueError(
                f"History.plot draws one fit; got those of shape {np.shape(self.value)}. Take one of them, "
                "jax.tree.map(lambda x: x[0], history)."
            )
        if ax is None:
            try:
                import matplotlib.pyplot as plt
            except ImportError as error:
                raise ImportError(
                    "History.plot needs matplotlib. Run pip install 'logtrick[plot]'."
                ) from error
            _, ax = plt.subplots()
        values = np.asarray(self.value, np.float64)
        window = window or max(1, len(values) // 50)
        ax.plot(values, color="tab:blue", alpha=0.25, linewidth=0.8)
        if 1 < window <= len(values):
            # The mean of the finite values: one nan or inf would otherwise be in all sums after it.
            finite = np.isfinite(values)
            sums = _window_sums(np.where(finite, values, 0.0), window)
            counts = _window_sums(finite, window)
            means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
            middle = np.arange(len(means)) + (window - 1) / 2
            ax.plot(middle, means, color="tab:blue", label=f"mean of {window} steps")
            ax.legend(frameon=False)
        ax.set_xlabel("step")
        ax.set_ylabel("objective")
        noise = self.series.get("gradient_noise")
        if noise is not None and len(noise["step"]):
            right = ax.twinx()
            right.plot(noise["step"], noise["signal_to_noise"], "D", color="0.4", markersize=4)
            right.set_yscale("symlog", linthresh=0.1)
            right.set_ylim(0.0, None)
            right.set_ylabel("◆ gradient: signal-to-noise ratio of a step", color="0.4")
        return ax


def end_length(column: Any) -> int:
    """How many steps at either end are averaged to say where a fit began and ended: 50, or a quarter of fewer than 200."""
    return max(1, min(50, len(column) // 4))


def ends(column: Any) -> tuple[float, float]:
    """The means of the finite entries among the first and the last few; nan where there are none."""
    column, count = np.asarray(column, np.float64), end_length(column)
    return finite_mean(column[:count]), finite_mean(column[-count:])


def finite_mean(column: Any) -> float:
    """The mean of the finite entries; nan where there are none."""
    column = np.asarray(column, np.float64)
    column = column[np.isfinite(column)]
    return float(np.mean(column)) if len(column) else float("nan")


def _window_sums(column: np.ndarray, window: int) -> np.ndarray:
    """The sums of all `window` consecutive entries."""
    sums = np.concatenate([[0.0], np.cumsum(column)])
    return sums[window:] - sums[:-window]
