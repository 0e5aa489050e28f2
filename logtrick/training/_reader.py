"""A thread that runs an iterator ahead of its consumer, by a bounded number of items."""

import collections
import threading
import weakref
from collections.abc import Generator
from typing import Any

_PATIENCE = 5.0


class Reader:
    """Reads `items` in a thread from the first `take` on; the thread ends by `close`, or with the reader.

    The thread refers to the channel, not to the reader, so that an unused reader is garbage-collected.
    """

    def __init__(self, items: Generator[Any, None, None]) -> None:
        self._channel = _Channel()
        self._thread = threading.Thread(
            target=_run, args=(items, self._channel), name="logtrick data", daemon=True
        )
        self._end = weakref.finalize(self, self._channel.close)

    def take(self, count: int, ahead: int) -> list[Any]:
        """The next `count` items; from now on `ahead` items are read before they are asked for.

        An exception of the iterator is raised once the items before it are taken.
        """
        if self._thread.ident is None:
            self._thread.start()
        return self._channel.take(count, ahead)

    def close(self) -> None:
        """Let the thread end after its current item, and wait some seconds for that (an iterator may hang)."""
        self._end()
        if self._thread.ident is not None:
            self._thread.join(_PATIENCE)


class _Channel:
    """The items between the thread and its consumer."""

    def __init__(self) -> None:
        self.items: collections.deque[Any] = collections.deque()
        self.changed = threading.Condition()
        self.most = 1
        self.closed = False
        self.error: BaseException | None = None

    def take(self, count: int, ahead: int) -> list[Any]:
        with self.changed:
            taken: list[Any] = []
            while True:
                while self.items and len(taken) < count:
                    taken.append(self.items.popleft())
                self.most = ahead
                self.changed.notify_all()
                if len(taken) == count:
                    return taken
                if self.error is not None and not self.items:
                    raise self.error
                self.changed.wait()

    def put(self, item: Any) -> bool:
        """Hand over an item and wait until there is room for the next; False once closed."""
        with self.changed:
            self.items.append(item)
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.closed or len(self.items) < self.most)
            return not self.closed

    def fail(self, error: BaseException) -> None:
        with self.changed:
            self.error = error
            self.changed.notify_all()

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.items.clear()
            self.changed.notify_all()


def _run(items: Generator[Any, None, None], channel: _Channel) -> None:
    try:
        for item in items:
            if not channel.put(item):
                break
        items.close()  # in this thread, where the generator ran
    except BaseException as error:  # every exception is raised in the consumer
        channel.fail(error)
