"""The protocol of everything that the host does between compiled chunks of steps."""

from typing import TYPE_CHECKING, Any, ClassVar

from logtrick._core.calls import constructor_in_words
from logtrick._core.show import show_arguments

if TYPE_CHECKING:
    from logtrick.training._run import Run


class Listener:
    """What the host does between compiled chunks of a fit: the base class of progress, checkpoints and stop rules.

    A fit visits its listeners after every `chunk` steps, after every multiple of a listener's own `every`, about once a
    second where steps are slow, and after the last step. No listener changes the bits of a fit.

    Attributes:
      every: visit at all multiples of this number of steps; None: at the fit's own `chunk`.
      name: the key of the listener's arrays in `FitState.listeners`; different names for different listeners of a fit.
      first_process_only: whether, of several processes that share a fit (`mesh`), only the first one visits it: for what
        writes to a file or a screen.

    Example:
      >>> import jax, optax, logtrick as lt
      >>> class Printer(lt.training.Listener):
      ...     def after_chunk(self, run):
      ...         print(run.step, round(float(run.history.value[-1]), 4))
      >>> objective = lambda p, key: (p - 3.0) ** 2
      >>> fit = lt.minimize(jax.random.key(0), objective, 0.0, optax.sgd(0.25), num_steps=4, chunk=2, listeners=(Printer(),))
      2 2.25
      4 0.1406
    """

    every: int | None = None
    name: ClassVar[str | None] = None
    first_process_only: ClassVar[bool] = False

    def __repr__(self) -> str:
        return show_arguments(self)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        constructor_in_words(cls)

    def start(self, run: "Run") -> None:
        """The fit begins, or goes on from a checkpoint: `run.step` steps were taken before.

        Args:
          run: the fit in progress.
        """

    def after_chunk(self, run: "Run") -> None:
        """The fit is at `run.step`; `run.stop(status, reason)` ends it.

        Args:
          run: the fit in progress.
        """

    def after_call(self, run: "Run") -> None:
        """After every call of compiled steps, several of which may make a chunk; nothing that costs time.

        Args:
          run: the fit in progress.
        """

    def translate(self, run: "Run", error: Exception) -> None:
        """Compiled steps raised: raise another exception instead, or return.

        Args:
          run: the fit in progress.
          error: what they raised.
        """

    def close(self, run: "Run", error: BaseException | None) -> None:
        """The fit is over.

        Args:
          run: the fit, with `run.status`.
          error: what ended it, or None.
        """

    def arrays(self) -> dict[str, Any]:
        """NumPy arrays that a resumed fit needs; they become part of checkpoints."""
        return {}

    def restore(self, arrays: dict[str, Any]) -> None:
        """Take over `arrays()` of the fit that is resumed, before `start`.

        Args:
          arrays: what `arrays()` gave.
        """
