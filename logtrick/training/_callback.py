"""A user's function between chunks."""

from collections.abc import Callable
from typing import Any

from logtrick.training._listener import Listener


class Callback(Listener):
    """Call a function with the fit so far; returning True or raising `StopIteration` ends the fit, with the status "stopped".

    Another exception ends the fit too, and carries the fit so far as `.result`.

    Args:
      function: `function(result)`, a `FitResult` with the status "running".
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def after_chunk(self, run: Any) -> None:
        try:
            wants_stop = self.function(run.result("running"))
        except StopIteration as stop:
            run.stop("stopped", str(stop) or "by StopIteration in the callback")
            return
        except KeyboardInterrupt:
            if run.status is not None:  # a second Ctrl-C
                raise
            run.stop("interrupted")
            return
        if wants_stop is True:
            run.stop("stopped", "by the callback")
