"""Ctrl-C as a flag that is looked at between chunks."""

import signal
import threading
from types import FrameType, TracebackType


class Interrupt:
    """Inside `with Interrupt() as interrupt:` a first Ctrl-C sets `interrupt.requested`; a second one raises at once.

    A KeyboardInterrupt in the middle of a chunk would find the state donated and gone. Only where Python's own handler is
    installed, and in the main thread, where signals arrive; otherwise nothing is changed.
    """

    requested = False

    def __enter__(self) -> "Interrupt":
        self._owns = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if self._owns:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._owns:
            signal.signal(signal.SIGINT, signal.default_int_handler)
