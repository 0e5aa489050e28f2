"""Which arguments of a function may not be differentiated: read from its jaxpr, where JAX itself only raises.

A derivative is followed forward, from equation to equation. An equation whose rule is not known here passes it from every
input to every output, so that an argument may be refused that JAX would have differentiated to zero. The bodies of
`jax.custom_jvp` and `jax.custom_vjp` are not looked into: their derivative does not go through them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from logtrick._core.compat import scan_sizes
from logtrick._core.kernel import once_p

Numbers = frozenset[int]
_NONE: Numbers = frozenset()
_HOST = frozenset({"pure_callback", "io_callback", "ffi_call"})  # without a derivative of their own
_FLAT = frozenset({"stop_gradient", "floor", "ceil", "round", "sign"})  # the derivative is zero
_BODIES = ("jaxpr", "call_jaxpr")  # parameters that hold a jaxpr with the equation's own inputs


class Refusal(NamedTuple):
    """The error that a derivative would raise.

    Attributes:
      kind: its class.
      message: its text.
    """

    kind: type[Exception]
    message: str


def refusals(function: Callable[..., Any], *args: Any) -> dict[int, Refusal]:
    """The arguments in which `function` refuses to be differentiated, and with which error.

    Args:
      function: of `args`; it is traced, not evaluated.
      args: pytrees of arrays.
    Returns:
      For the position of each refused leaf among those of `args`, the first refusal that its derivative meets.
    """
    leaves, tree = jax.tree.flatten(args)
    jaxpr = jax.make_jaxpr(lambda *leaves: function(*tree.unflatten(leaves)))(*leaves).jaxpr
    found: dict[int, Refusal] = {}
    _through(jaxpr, [frozenset([i]) for i in range(len(leaves))], found)
    return found


def _through(jaxpr: Any, inputs: list[Numbers], found: dict[int, Refusal]) -> list[Numbers]:
    """For each output of a jaxpr, the arguments in which it has a derivative, given those of its inputs."""
    known = dict(zip(jaxpr.invars, map(_of_floats, jaxpr.invars, inputs)))
    read = lambda v: _NONE if isinstance(v, core.Literal) else known.get(v, _NONE)
    for eqn in jaxpr.eqns:
        ins = [read(v) for v in eqn.invars]
        refusal = _refusal(eqn)
        if refusal is not None:
            for number in _NONE.union(*ins):
                found.setdefault(number, refusal)
        known.update(zip(eqn.outvars, map(_of_floats, eqn.outvars, _outputs(eqn, ins, found))))
    return [read(v) for v in jaxpr.outvars]


def _of_floats(var: Any, numbers: Numbers) -> Numbers:
    """Only floats have derivatives."""
    dtype = getattr(var.aval, "dtype", None)
    return numbers if dtype is not None and jnp.issubdtype(dtype, jnp.inexact) else _NONE


def _refusal(eqn: Any) -> Refusal | None:
    name = eqn.primitive.name
    if eqn.primitive is once_p:
        return Refusal(*eqn.params["error"])
    if name in _HOST:
        return Refusal(
            ValueError,
            f"jax.{name} was differentiated, and a host function has no derivative. Give it one by jax.custom_jvp, or hold "
            "its arguments: jax.lax.stop_gradient.",
        )
    return None


def _outputs(eqn: Any, ins: list[Numbers], found: dict[int, Refusal]) -> list[Numbers]:
    """The rule of one equation."""
    name, params, every = eqn.primitive.name, eqn.params, _NONE.union(*ins)
    if not every or name in _FLAT:
        return [_NONE] * len(eqn.outvars)
    if name == "cond":
        branches = [_through(_open(branch), ins[1:], found) for branch in params["branches"]]
        return [_NONE.union(*outs) for outs in zip(*branches)]
    if name == "while":
        first, last = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
        body = lambda carry: _through(_open(params["body_jaxpr"]), ins[first:last] + carry, found)
        return _settled(body, ins[last:])
    if name == "scan":
        consts, carries = scan_sizes(params)
        last = consts + carries
        whole = lambda carry: _through(
            _open(params["jaxpr"]), ins[:consts] + carry + ins[last:], found
        )
        carry = _settled(lambda carry: whole(carry)[:carries], ins[consts:last])
        return carry + whole(carry)[carries:]
    if not name.startswith("custom_"):
        for body in (_open(params[key]) for key in _BODIES if key in params):
            if len(body.invars) == len(ins) and len(body.outvars) == len(eqn.outvars):
                return _through(body, ins, found)
    return [every] * len(eqn.outvars)


def _settled(step: Callable[[list[Numbers]], list[Numbers]], carry: list[Numbers]) -> list[Numbers]:
    """The carry of a loop after any number of steps."""
    while (more := [old | new for old, new in zip(carry, step(carry))]) != carry:
        carry = more
    return carry


def _open(jaxpr: Any) -> Any:
    return getattr(jaxpr, "jaxpr", jaxpr)
