"""The one walk over a program: run its generator, hand each statement to a reader, send the reader's reply back."""

import inspect
from collections.abc import Generator
from typing import Any

import jax

from logtrick._core.calls import described
from logtrick._core.tracing import TRACED_ERRORS, explain_tracing
from logtrick.programs._begin import start
from logtrick.programs._statements import (
    MADE,
    Cost,
    FreshKey,
    Loop,
    Plate,
    Program,
    Sample,
    Statement,
    WholeCost,
)


class Reader:
    """What is done with the statements of a program: one method for each kind, which returns the reply.

    A method may read the rest of the program itself, by calling `walk` on the same `Running`
    (estimators of several points do, once under `jax.vmap`); the walk that called it then ends.

    Attributes:
      where: the function at work, for messages.
    """

    where = "a program"

    def sample(self, statement: Sample) -> Any:
        return self.refuse(statement)

    def cost(self, statement: Cost) -> Any:
        return self.refuse(statement)

    def whole_cost(self, statement: WholeCost) -> Any:
        return self.refuse(statement)

    def loop(self, statement: Loop) -> Any:
        return self.refuse(statement)

    def plate(self, statement: Plate) -> Any:
        return self.refuse(statement)

    def fresh_key(self, statement: FreshKey) -> Any:
        return self.refuse(statement)

    def refuse(self, statement: Statement) -> Any:
        """A statement that is not legal here."""
        raise ValueError(
            f"{self.where}: a step yields lt.sample(…) and lt.cost(…); got lt.{statement.called}(…). Draw in the step "
            "itself, or use lt.expect_program."
        )


class Running:
    """A program under way: its generator, the statements that it has made, and what it returned at its end."""

    def __init__(self, generator: Generator[Any, Any, Any]) -> None:
        self.generator = generator
        self.made: list[Statement] = []
        self.ended = False
        self.value: Any = None

    def advance(self, reply: Any) -> Statement | None:
        """The next statement that the program yields, or None at its end."""
        token = MADE.set(self.made)
        try:
            statement = self.generator.send(reply)
        except StopIteration as end:
            self.value, self.ended = end.value, True
            self._check_all_yielded()
            return None
        except TRACED_ERRORS as error:
            explain_tracing(error, "programs and costs are traced by JAX, one draw at a time")
            raise
        finally:
            MADE.reset(token)
        if not isinstance(statement, Statement):
            raise TypeError(_not_a_statement(statement))
        statement.yielded = True
        return statement

    def _check_all_yielded(self) -> None:
        for statement in self.made:
            if not statement.yielded:
                raise TypeError(
                    f"an lt.{statement.called}(…) was made and not yielded, so it would be lost silently. Write `yield "
                    f"lt.{statement.called}(…)` in the program itself, not inside jax.jit, lax.scan or lax.cond; call a "
                    "sub-program by `yield from`."
                )


def _not_a_statement(value: Any) -> str:
    kind = "an array" if isinstance(value, jax.Array) else described(value)
    if hasattr(value, "log_prob"):
        kind = type(value).__name__.lstrip("_")
        return f"a program yields lt.sample(dist); got the distribution itself, {kind}. Write `x = yield lt.sample({kind}(…))`."
    if inspect.isgenerator(value):
        return "a program yields lt.sample(…) or lt.cost(…); got a generator. Write `yield from` for a sub-program."
    return f"a program yields lt.sample(…) or lt.cost(…); got {kind}. Wrap a number in lt.cost."


def walk(running: Running, reader: Reader, reply: Any = None) -> Any:
    """Read the statements that `running` yields from here to its end; what the program returns."""
    while (statement := running.advance(reply)) is not None:
        reply = statement.read(reader)
        if running.ended:  # the reader has read the rest itself
            break
    return running.value


def begin_step(step: Program, *args: Any) -> Running:
    """A step of a loop, or an element of a plate, under way."""
    return Running(start(step, args)())


def step_result(value: Any) -> tuple[Any, Any]:
    """What the step of a loop returns."""
    if not isinstance(value, tuple) or len(value) != 2:
        raise TypeError(
            f"the step of lt.scan must return (carry, y); got {type(value).__name__}. Write `return carry, y`."
        )
    return value


def changed(what: str) -> ValueError:
    """The error for a program whose structure is not the same in every sample."""
    return ValueError(
        f"the program has other {what} in one sample than in another. Its structure must not change."
    )
