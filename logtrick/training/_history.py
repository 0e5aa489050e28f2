"""The record of a fit's steps."""

from typing import Any

import numpy as np

from logtrick._core.module import Module


class History(Module):
    """What happened at each step, arrays of shape (steps,).

    Attributes:
      value: the objective in the user's sign, before the step's update; noisy where the objective is.
      gradient_norm: the Euclidean norm of the gradient of the loss, before clipping; inf where its square overflows.
      update_norm: the Euclidean norm of the optimizer's update.
      skipped: whether the step was skipped because its value, its gradient or its update was not finite.
      clipped: whether the freeze guard clipped the step's gradient.
      metrics: scalars by name: those of the objective's aux, the standard error of its expectation, the fraction of
        expectations without signal, and the learning rate where optax exposes it.
      series: by listener, what was recorded at some of the steps only: arrays by name, `"step"` among them.

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
        columns = ["value", "gradient_norm", "update_norm", "skipped", "clipped"]
        columns += [f"metrics[{name!r}]" for name in self.metrics]
        columns += [f"series[{name!r}]" for name in self.series]
        return f"History of {len(self.value)} steps: {', '.join(columns)}"

    def _repr_html_(self) -> str:
        rows = [("value", self.value), ("gradient_norm", self.gradient_norm)]
        rows += [("update_norm", self.update_norm), *self.metrics.items()]
        count = end_length(self.value)
        cells = "".join(
            f"<tr><td>{name}</td><td>{first:.6g}</td><td>{last:.6g}</td></tr>"
            for name, (first, last) in ((name, ends(column)) for name, column in rows)
        )
        return (
            f"<table><caption>{len(self.value)} steps; means of the first and of the last {count}"
            f"</caption><tr><th></th><th>first</th><th>last</th></tr>{cells}</table>"
        )

    def plot(self, ax: Any = None, window: int | None = None) -> Any:
        """The objective against the step: every step as a faint line, a moving mean on top.

        Where `lt.training.GradientNoise` listened, its signal-to-noise ratio is drawn against a second axis, as gray diamonds.

        Args:
          ax: a matplotlib axes; a new figure otherwise.
          window: the steps of the moving mean; None: a fiftieth of the fit.
        Returns:
          The axes.
        Raises:
          ImportError: matplotlib is not installed.
        """
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
        if window > 1:
            sums = np.cumsum(np.where(np.isfinite(values), values, np.nanmean(values)))
            means = (sums[window:] - sums[:-window]) / window
            middle = np.arange(len(means)) + window / 2 + 0.5
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
    """How many steps at either end are averaged to say where a fit began and ended: 50, or a quarter."""
    return max(1, min(50, len(column) // 4))


def ends(column: Any) -> tuple[float, float]:
    """The means of the finite entries among the first and the last few; nan where there are none."""
    column, count = np.asarray(column, np.float64), end_length(column)
    first, last = column[:count], column[-count:]
    return _finite_mean(first), _finite_mean(last)


def _finite_mean(column: np.ndarray) -> float:
    column = column[np.isfinite(column)]
    return float(np.mean(column)) if len(column) else float("nan")
