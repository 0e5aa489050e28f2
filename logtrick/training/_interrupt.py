"""Ctrl-C and SIGTERM: a fit ends between chunks, and its result is kept."""

import contextlib
import signal
import sys
import threading
from types import FrameType
from typing import Any

import jax

from logtrick.training._output import write

_TERMINATED = "SIGTERM"
_GLANCE = 0.1  # seconds; on Windows signals do not interrupt the wait for a lock


class Interrupt:
    """Turn a first Ctrl-C into the status "interrupted", a second one into a `KeyboardInterrupt` that carries `.result`.

    The first one says at once that the running steps are being finished (about a second at most). The second one is raised
    where the state is safe: between calls of compiled steps, in a callback, in a host function, or while the host waits.
    Signals are handled only in the main thread, where they arrive, and only where Python's own handler is installed.

    Args:
      terminates: whether SIGTERM ends the fit in the same way, and then the process with exit code 143: for fits that are
        checkpointed, on machines that may be preempted.
    """

    def __init__(self, terminates: bool = False) -> None:
        self.terminates = terminates
        self.presses = 0
        self._before: dict[int, Any] = {}

    def start(self, run: Any) -> None:
        """Install the handlers."""
        self._run = run
        if threading.current_thread() is not threading.main_thread():
            return
        self._take(signal.SIGINT, signal.default_int_handler, self._pressed)
        if self.terminates:
            self._take(signal.SIGTERM, signal.SIG_DFL, self._terminate)

    def _take(self, number: int, usual: Any, handler: Any) -> None:
        if signal.getsignal(number) == usual:
            self._before[number] = usual
            signal.signal(number, handler)

    def _pressed(self, number: int, frame: FrameType | None) -> None:
        self.presses += 1
        if self.presses == 1:
            self._run.stop("interrupted")
            write(
                sys.stderr,
                "Interrupted: finishing the running steps. Ctrl-C again stops at once.\n",
            )
        elif self._run.may_raise:
            raise KeyboardInterrupt

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._run.stop("interrupted", _TERMINATED)
        write(sys.stderr, "SIGTERM: finishing the running steps, then saving.\n")

    def check(self, error: Exception | None = None) -> None:
        """Raise for a second Ctrl-C that came while it could not be raised.

        Args:
          error: what compiled steps raised: a Ctrl-C inside a host function comes back as an error of JAX.
        """
        if self.presses > 1:
            raise KeyboardInterrupt from error

    def close(self, run: Any, error: BaseException | None) -> None:
        """Restore the handlers; after a SIGTERM, once everything else is closed, end the process."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if run.reason == _TERMINATED and error is None:  # here, or in another process of the fit
            if run.several_processes and signal.SIGTERM in self._before:
                # This process's own SIGTERM may come only now. It must not kill the process, which is ending: the other
                # processes wait until it has left their group in order.
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            raise SystemExit(128 + signal.SIGTERM)


def wait(x: jax.Array) -> None:
    """Wait for `x`, or until its computation has failed, in a way in which Python can handle signals meanwhile."""
    done = threading.Event()

    def block() -> None:
        with contextlib.suppress(Exception):  # raised again where `x` is read
            x.block_until_ready()
        done.set()

    threading.Thread(target=block, name="logtrick wait", daemon=True).start()
    while not done.wait(_GLANCE):
        pass
