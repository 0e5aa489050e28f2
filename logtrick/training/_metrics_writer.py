"""A fit's metrics, averaged since the last line, handed to a function of the user's."""

from collections.abc import Callable
from typing import Any

import numpy as np

from logtrick._core.calls import described
from logtrick.training._listener import Listener


class MetricsWriter(Listener):
    """Call a function with the means over the steps since its last call: a dict of numbers by name.

    Keys: "step", "seconds", "value", "gradient_norm", "update_norm", "skipped" and "clipped" (counts), and those of
    `history.metrics`; a metric that has one of these names gets the key "metrics/value" and so on. The last call, at the end
    of the fit, has the steps that are left. Of several processes that share a fit only the first one calls. An exception of
    the function ends the fit and carries it as `.result`.

    TensorBoard, Weights & Biases and MLflow take such numbers in a line or two (imports left out):

        board = torch.utils.tensorboard.SummaryWriter("runs/a")
        write = lambda line: [board.add_scalar(name, number, line["step"]) for name, number in line.items()]

        wandb.init(project="bandits", config={"rate": 0.1})
        write = lambda line: wandb.log(line, step=line["step"])

        mlflow.set_experiment("bandits")
        write = lambda line: mlflow.log_metrics(line, step=line["step"])

    and then `lt.minimize(…, listeners=(lt.training.MetricsWriter(write),))`.

    Args:
      write: `write(line)`.
      every: call it at multiples of this number of steps; None is the fit's own `chunk`.
    Raises:
      TypeError: no function.
    Example:
      >>> import jax, optax, logtrick as lt
      >>> writer = lt.training.MetricsWriter(lambda line: print(line["step"], round(line["value"], 3)), every=2)
      >>> objective = lambda p, key: (p - 3.0) ** 2
      >>> fit = lt.minimize(jax.random.key(0), objective, 0.0, optax.sgd(0.25), num_steps=4, listeners=(writer,))
      2 5.625
      4 0.352
    """

    first_process_only = True

    def __init__(self, write: Callable[[dict[str, Any]], Any], every: int | None = None) -> None:
        if not callable(write):
            raise TypeError(
                f"lt.training.MetricsWriter(write=…) needs a function of a dict of numbers; got {described(write)}. Pass print, "
                "say."
            )
        self.write, self.every = write, every

    def start(self, run: Any) -> None:
        self._written = run.step

    def after_chunk(self, run: Any) -> None:
        if run.step % (self.every or run.chunk) == 0:
            self._write_line(run)

    def close(self, run: Any, error: BaseException | None) -> None:
        """See `Listener.close`: a fit may end between two lines."""
        self._write_line(run)

    def _write_line(self, run: Any) -> None:
        if run.step > self._written:
            line = self._line(run)
            self._written = run.step
            self.write(line)  # after the step was noted: where it fails, `close` does not try again

    def _line(self, run: Any) -> dict[str, Any]:
        history, since = run.history, slice(self._written, run.step)
        mean = lambda column: float(np.mean(np.asarray(column[since], np.float64)))
        line = {
            "step": run.step,
            "seconds": round(run.seconds, 3),
            "value": mean(history.value),
            "gradient_norm": mean(history.gradient_norm),
            "update_norm": mean(history.update_norm),
            "skipped": int(np.sum(history.skipped[since])),
            "clipped": int(np.sum(history.clipped[since])),
        }
        metrics = {name: mean(column) for name, column in history.metrics.items()}
        return line | {f"metrics/{k}" if k in line else k: x for k, x in metrics.items()}
