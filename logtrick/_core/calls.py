"""What is wrong with the arguments of a call, in words of ours: what came, what was meant, what is missing."""

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np

from logtrick._core.compat import is_key

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)

# What people type who know other libraries, and the keyword of ours.
_MEANT = {
    "n": "num_samples",
    "samples": "num_samples",
    "n_samples": "num_samples",
    "nsamples": "num_samples",
    "num_particles": "num_samples",
    "sample_shape": "num_samples",
    "batch": "data",
    "dataset": "data",
    "chunk": "chunk_size",
    "steps": "num_steps",
    "n_steps": "num_steps",
    "num_iterations": "num_steps",
    "num_iters": "num_steps",
    "iterations": "num_steps",
    "max_steps": "num_steps",
    "opt": "optimizer",
    "method": "estimator",
    "gradient_estimator": "estimator",
    "distribution": "dist",
    "fn": "f",
    "rng": "key",
    "rng_key": "key",
    "seed": "key",
    "replicates": "num_replicates",
    "tau": "temperature",
    "temp": "temperature",
    "k": "num_draws",
    "early_stopping": "stop",
    "log_every": "chunk",
}
_ADVICE = {
    "baseline": "Pass estimator=lt.ScoreFunction(baseline)",
    "learning_rate": "Pass it to the optimizer, optax.adam(learning_rate)",
    "lr": "Pass it to the optimizer, optax.adam(learning_rate)",
    "num_samples": "It is an argument of lt.expect, lt.expect(…, num_samples=16)",
}


def described(value: Any) -> str:
    """What came, in words: a function, the class Normal, a PRNG key, an array float32[3].

    Example:
      >>> import jax, jax.numpy as jnp
      >>> described(jnp.zeros(3)), described(jax.random.key(0)), described(float), described(2)
      ('an array float32[3]', 'a PRNG key', 'the class float', 'int 2')
    """
    if is_key(value):
        return "a PRNG key"
    if isinstance(value, jax.Array | np.ndarray):
        return f"an array {value.dtype}[{','.join(map(str, value.shape))}]"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if inspect.isgenerator(value):
        return "a generator"
    if inspect.isroutine(value):
        name = getattr(value, "__name__", "<lambda>")
        return "a function" if name == "<lambda>" else f"the function {name}"
    if value is None:
        return "None"
    if isinstance(value, bool | int | float | complex | str):
        return f"{type(value).__name__} {value!r}"
    return type(value).__name__.lstrip("_")


def in_words(
    where: str,
    *,
    signature: inspect.Signature | None = None,
    further: tuple[tuple[type, str], ...] = (),
    missing: Mapping[str, str] | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function whose errors for wrong arguments say what is meant, instead of Python's own sentences.

    Args:
      where: how the function is called, "lt.expect".
      signature: its signature, where it is not the function's own.
      further: types, and the keyword that a positional argument of the type is meant for.
      missing: what to say where a required argument is missing, by its name.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        def refusal(args: Any, options: Any) -> str | None:
            form = _Form(where, signature or inspect.signature(function), further, missing or {})
            return form.refusal(args, options)

        @functools.wraps(function)
        def checked(*args: P.args, **options: P.kwargs) -> R:
            if signature is not None and (said := refusal(args, options)) is not None:
                raise TypeError(said)  # the function itself takes anything
            try:
                return function(*args, **options)
            except TypeError as error:
                said = refusal(args, options) if _of_this_call(error) else None
                if said is None:
                    raise
                raise TypeError(said) from None

        return checked

    return decorate


def constructor_in_words(cls: C) -> C:
    """A class whose constructor refuses wrong arguments in words; a class without a constructor of its own is left alone."""
    if "__init__" in vars(cls):
        cls.__init__ = method_in_words(vars(cls)["__init__"])  # type: ignore[misc]  # its own, wrapped
    return cls


def method_in_words(method: Callable[P, R]) -> Callable[P, R]:
    """A method, or a constructor, whose errors for wrong arguments say what is meant."""

    @functools.wraps(method)
    def checked(*args: P.args, **options: P.kwargs) -> R:
        try:
            return method(*args, **options)
        except TypeError as error:
            refusal = _refused(method, args, options) if _of_this_call(error) else None
            if refusal is None:
                raise
            raise TypeError(refusal) from None

    return checked


def _refused(method: Any, args: tuple[Any, ...], options: dict[str, Any]) -> str | None:
    """What is wrong with the arguments of a method; None where nothing is."""
    owner, _, name = method.__qualname__.rpartition(".")
    parameters = list(inspect.signature(method).parameters.values())[1:]
    shown = f"{name}({', '.join(p.name for p in parameters)})"
    if not args or all(owner != base.__qualname__ for base in type(args[0]).__mro__):
        return f"{shown} is a method of an object; it was called on the class. Make an object first, {owner}(…).{shown}."
    where = type(args[0]).__name__.lstrip("_")
    where = where if name == "__init__" else f"{where}.{name}"
    return _Form(where, inspect.Signature(parameters), (), {}).refusal(args[1:], options)


def _of_this_call(error: BaseException) -> bool:
    """Whether an error is of the call itself, whose arguments do not fit, and not of what was called."""
    return error.__traceback__ is not None and error.__traceback__.tb_next is None


class _Form:
    """The arguments that a function takes, and the errors for others."""

    def __init__(
        self,
        where: str,
        signature: inspect.Signature,
        further: tuple[tuple[type, str], ...],
        missing: Mapping[str, str],
    ) -> None:
        parameters = list(signature.parameters.values())
        kinds = inspect.Parameter
        self.where, self.further, self.missing = where, further, missing
        self.positional = [p.name for p in parameters if p.kind is kinds.POSITIONAL_OR_KEYWORD]
        self.any_number = any(p.kind is kinds.VAR_POSITIONAL for p in parameters)
        self.any_name = any(p.kind is kinds.VAR_KEYWORD for p in parameters)
        named = (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)
        self.names = [p.name for p in parameters if p.kind in named]
        self.required = [p.name for p in parameters if p.default is p.empty and p.kind in named]

    def refusal(self, args: tuple[Any, ...], options: dict[str, Any]) -> str | None:
        """What is wrong with these arguments; None where they fit."""
        if len(args) > len(self.positional) and not self.any_number:
            return self._too_many(args)
        for name in options:
            if name not in self.names and not self.any_name:
                return self._unknown(name)
        given = self.positional[: len(args)]
        twice = [name for name in given if name in options]
        if twice:
            return f"{self._takes()}; {twice[0]} was given twice, by position and by name."
        absent = [name for name in self.required if name not in given and name not in options]
        return self._absent(absent, args) if absent else None

    def _takes(self) -> str:
        return f"{self.where} takes ({', '.join(self.positional)})"

    def _too_many(self, args: tuple[Any, ...]) -> str:
        extra = args[len(self.positional)]
        name = next((name for kind, name in self.further if isinstance(extra, kind)), None)
        rest = [n for n in self.names if n not in self.positional]
        name = name or (rest[0] if rest else None)
        if name is None and self.any_name:
            return f"{self.where} takes everything by name; got {described(extra)} by position. Pass name=…, one of your own."
        if name is None:
            count = f"{len(args)} argument{'' if len(args) == 1 else 's'}"
            return f"{self._takes()}; got {count}. Leave out {described(extra)}."
        text = repr(extra) if isinstance(extra, int | float | str) else "…"
        return f"{self._takes()}, and everything else by name; got {len(args)} positional arguments. Pass {name}={text}, say."

    def _unknown(self, name: str) -> str:
        meant = _MEANT.get(name)
        close = difflib.get_close_matches(name, self.names, 1)
        if meant in self.names:
            advice = f"Pass {meant}=…"
        elif close:
            advice = f"Pass {close[0]}=…"
        elif name in _ADVICE:
            advice = _ADVICE[name]
        else:
            advice = f"Pass one of {', '.join(self.names)}" if self.names else "Leave it out"
        return f"{self.where}({name}=…) is no argument of it. {advice}."

    def _absent(self, absent: list[str], args: tuple[Any, ...]) -> str:
        if absent[0] in self.missing and len(absent) == 1:
            return self.missing[absent[0]]
        names = " and ".join(absent)
        verb = "is" if len(absent) == 1 else "are"
        first = self.positional[0] if self.positional else ""
        hint = ""
        if first == "key" and args and not is_key(args[0]) and callable(args[0]):
            hint = f" Keys come first; the first argument is {described(args[0])}."
        return f"{self._takes()}; {names} {verb} missing.{hint or f' Pass {absent[0]}=….'}"
