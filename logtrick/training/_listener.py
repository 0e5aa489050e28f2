"""The protocol of everything that the host does between compiled chunks of steps."""

from typing import TYPE_CHECKING, Any, ClassVar

from logtrick._core.calls import constructor_in_words
from logtrick._core.show import show_arguments

if TYPE_CHECKING:
    from logtrick.training._run import Run


class Listener:
    """What the host does between compiled chunks of a fit: the base class of progress, checkpoints and stop rules.

    A fit visits its listeners after every `chunk` steps, at every multiple of a listener's own `every`, about once a second
    where steps are slow, and after the last step. A listener can end a fit, but it does not change the bits of its steps.

    Attributes:
      every: visit at all multiples of this number of steps; None is the fit's own `chunk`.
      name: the key of the listener's arrays in `FitState.listeners`; the listeners of a fit need different names.
      first_process_only: for a listener that writes to a file or a screen: of several processes that share a fit (`mesh`),
        only the first one visits it.

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
        """The fit begins, or goes on from a checkpoint: `run.step` steps were taken before."""

    def after_chunk(self, run: "Run") -> None:
        """The fit is at `run.step`; `run.stop(status, reason)` ends it."""

    def close(self, run: "Run", error: BaseException | None) -> None:
        """The fit is over, with `run.status`; `error` is the exception that ended it, or None."""

    def arrays(self) -> dict[str, Any]:
        """The NumPy arrays that a resumed fit needs; they are saved in checkpoints."""
        return {}

    def restore(self, arrays: dict[str, Any]) -> None:
        """Take over what `arrays()` returned in the fit that is resumed; called before `start`."""
