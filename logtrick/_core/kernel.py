"""The JAX primitives that the rest of the library is built on.

Primitives, not `custom_jvp`: reverse mode through `scan` and `checkpoint` drops a custom_jvp's rule
when it partially evaluates, so a constant-valued box loses its second-order term there and a guard
stays silent. A primitive keeps its rule everywhere. Public imports only.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from logtrick._core.calls import described, in_words
from logtrick._core.errors import DerivativeOrderError, UnaccountedRandomnessError
from logtrick._core.mesh import alike

Array = jax.Array
stop = lax.stop_gradient


def _elementwise(name: str, value: Callable[..., Any], jvp: Callable[..., Any]) -> Primitive:
    """A primitive on operands of one shape, whose result has the shape and dtype of the first.

    Args:
      name: of the primitive.
      value: `value(*xs)`, elementwise.
      jvp: `jvp(xs, tangents, **params)`, the value and its derivative.
    """
    primitive = Primitive("logtrick_" + name)
    primitive.def_impl(lambda *xs, **_: value(*xs))
    primitive.def_abstract_eval(lambda x, *_, **__: x)
    mlir.register_lowering(
        primitive, mlir.lower_fun(lambda *xs, **_: value(*xs), multiple_results=False)
    )

    def batch(xs: Any, dims: Any, **params: Any) -> tuple[Any, int]:
        size = next(x.shape[d] for x, d in zip(xs, dims) if d is not None)
        front = [
            jnp.broadcast_to(x, (size, *x.shape)) if d is None else jnp.moveaxis(x, d, 0)
            for x, d in zip(xs, dims)
        ]
        return primitive.bind(*alike(*front), **params), 0

    batching.primitive_batchers[primitive] = batch
    ad.primitive_jvps[primitive] = jvp
    return primitive


# --- the magic box: value 1, a constant; d box(l) = box(l) dl


def _box_jvp(primals: Any, tangents: Any) -> Any:
    out = _box_p.bind(*primals)
    return out, tangents[0] if isinstance(tangents[0], ad.Zero) else out * tangents[0]


_box_p = _elementwise("box", jnp.ones_like, _box_jvp)


@in_words("lt.magic_box")
def magic_box(log_prob: Any) -> Array:
    """The magic box: value exactly 1, derivative ∇ log p, at every order.

    box(l) = 1 and d box(l) = box(l) dl, so that ∇ⁿ E[c] = E[∇ⁿ (c · box(log p(x)))] for x drawn at
    stopped parameters. Unlike exp(l − stop(l)) it stays 1 and finite at l = −inf, and nothing of
    log p is computed for its value. It goes through every transformation, through a
    `lax.while_loop` of unknown length in forward mode: the second example shows how (draws at
    stopped parameters, their log-probs summed in the carry). For many parameters:
    `lt.eligibility_trace`.

    Args:
      log_prob: log p(x; θ), any shape, real.
    Returns:
      Ones, shaped like `log_prob`.
    References:
      Foerster et al. (2018), "DiCE: The Infinitely Differentiable Monte-Carlo Estimator", equation
      7.
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> p_ratio = lambda t: lt.magic_box(3 * jnp.log(t))     # d/dt of t³ / t³ with the denominator held
      >>> p_ratio(2.0).item(), jax.grad(p_ratio)(2.0).item(), jax.grad(jax.grad(p_ratio))(2.0).item()
      (1.0, 1.5, 1.5)
      >>> def tosses(p, key):                                  # until the first head: E = 1/p
      ...     def toss(state):
      ...         count, log_prob, key, _ = state
      ...         key, sub = jax.random.split(key)
      ...         head = jax.random.uniform(sub) < jax.lax.stop_gradient(p)
      ...         return count + 1, log_prob + jnp.where(head, jnp.log(p), jnp.log1p(-p)), key, head
      ...     count, log_prob, *_ = jax.lax.while_loop(lambda state: ~state[3], toss, (0.0, 0.0, key, False))
      ...     return count * lt.magic_box(log_prob)
      >>> mean = lambda p: jax.vmap(lambda key: tosses(p, key))(jax.random.split(jax.random.key(0), 100_000)).mean()
      >>> round(jax.jacfwd(mean)(0.5).item(), 1)               # exact: −1/p²
      -4.0
    """
    try:
        if isinstance(log_prob, str):  # which JAX takes for the name of a dtype
            raise TypeError(log_prob)
        value = as_inexact(log_prob)
    except (TypeError, ValueError):
        raise TypeError(
            f"lt.magic_box(log_prob=…) needs the number log p(x); got {described(log_prob)}. Pass "
            "lt.magic_box(dist.log_prob(x)), say."
        ) from None
    return _box_p.bind(value)


def as_array(x: Any) -> Array:
    """`x` as an array. An array stays as it is: called eagerly, `jnp.asarray` would copy it, with its derivative."""
    return x if isinstance(x, jax.Array) else jnp.asarray(x)


def as_dtype(x: Array, dtype: Any) -> Array:
    """`x` with a dtype of its own, not a weak one. An array that has it stays as it is, as in `as_array`."""
    return x if x.dtype == dtype and not x.weak_type else x.astype(dtype)


def wide(dtype: Any) -> np.dtype:
    """`dtype`, but float32 in the place of a half precision.

    Args:
      dtype: of floats.
    Returns:
      The dtype in which sums and noise are computed.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> lt.noise.wide(jnp.bfloat16).name, lt.noise.wide("float64").name
      ('float32', 'float64')
    """
    dtype = np.dtype(dtype)
    return dtype if dtype.itemsize >= 4 else np.dtype("float32")


def as_inexact(x: Any) -> Array:
    """`x` as an array of floats; what is a float already keeps its dtype."""
    x = as_array(x)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(float)


# --- once: the identity on its first operand; a derivative of any operand raises


def _once_jvp(primals: Any, tangents: Any, *, error: Any) -> Any:
    if all(isinstance(t, ad.Zero) for t in tangents):
        return once_p.bind(*primals, error=error), tangents[0]
    raise error[0](error[1])


once_p = _elementwise("once", lambda x, *_: x, _once_jvp)


def refuse(tree: Any, message: str, kind: type[Exception] = UnaccountedRandomnessError) -> Any:
    """The guard: `tree` as it is, but differentiating any of its inexact leaves raises `kind(message)`."""

    def guard(x: Any) -> Any:
        if not is_array(x) or not jnp.issubdtype(jnp.result_type(x), jnp.inexact):
            return x
        return once_p.bind(jnp.asarray(x), error=(kind, message))

    return jax.tree.map(guard, tree)


def is_array(x: Any) -> bool:
    """Whether `x` is an array or a Python number (a leaf that JAX can trace)."""
    return isinstance(x, jax.Array | float | int | complex) or hasattr(x, "__array__")


def detached(tree: Any) -> Any:
    """`tree` with its array leaves held constant; leaves that are no arrays stay as they are."""
    return jax.tree.map(lambda x: stop(x) if is_array(x) else x, tree)


# --- derivative_only: value 0, derivative dx, at every order


def _derivative_only_jvp(primals: Any, tangents: Any) -> Any:
    return _derivative_only_p.bind(*primals), tangents[0]


_derivative_only_p = _elementwise("derivative_only", jnp.zeros_like, _derivative_only_jvp)


def derivative_only(x: Array) -> Array:
    """0 with the derivatives of `x`, shaped like it, for terms whose value is 0 anyway: the compiler then need not compute it."""
    return _derivative_only_p.bind(as_inexact(x))


def zero_of(x: Array) -> Array:
    """Σ x without its value: 0, shape (), whatever is in `x`; its derivative in an entry is 1, and nan where that is nan.

    Under `jax.vmap` over what multiplies it, an `x` that is not batched has a derivative that is summed as a number, where
    the derivative of a product with `x` would be an array of its shape for each element.
    """
    one = stop(jnp.where(jnp.isnan(x), jnp.nan, 1.0)).astype(x.dtype)
    return jnp.sum(derivative_only(one * x))


# --- first_order: value 0, derivative c dx; the second derivative raises


def _first_order_jvp(primals: Any, tangents: Any, *, error: Any) -> Any:
    (c, x), (dc, dx) = primals, tangents
    parts = []
    if not isinstance(dx, ad.Zero):
        parts.append(once_p.bind(*alike(c, x), error=error) * dx)
    if not isinstance(dc, ad.Zero):
        # dc (x − x) is zero, and keeps the legal derivatives in x of a derivative in c. An infinite logit has no derivative,
        # and ∞ − ∞ is nan, so 0 stands in its place.
        at = jnp.where(jnp.isinf(x), 0.0, x)
        parts.append(dc * (at - stop(at)))
    return _first_order_p.bind(c, x, error=error), sum(parts[1:], parts[0])


_first_order_p = _elementwise("first_order", lambda c, x: jnp.zeros_like(c), _first_order_jvp)


def first_order(name: str, coefficient: Any, x: Any) -> Array:
    """A term of value 0 whose derivative is Σ c dx, for estimators that are right to first order only.

    Args:
      name: the estimator that the error message names.
      coefficient: c, broadcast against `x`.
      x: what the derivative is taken with respect to, any shape.
    Returns:
      Zero, shape ().
    Raises:
      DerivativeOrderError: a second derivative was taken.
    Example:
      >>> import jax, logtrick as lt
      >>> term = lambda x: lt.first_order("Mine", 5.0, x)
      >>> term(2.0).item(), jax.grad(term)(2.0).item()
      (0.0, 5.0)
    """
    c, x = as_inexact(coefficient), as_inexact(x)
    dtype = jnp.result_type(c, x)
    c, x = jnp.broadcast_arrays(c.astype(dtype), x.astype(dtype))
    error = (DerivativeOrderError, order_message(name))
    return jnp.sum(_first_order_p.bind(*alike(c, x), error=error))


def order_message(name: str) -> str:
    """The message of an estimator that is right to first order, when a second derivative is taken."""
    return (
        f"{name} is right for first derivatives only. Use ScoreFunction() where a second "
        "derivative is needed."
    )


# --- limited: the identity on its first operand; its derivative is right once, a second one that involves the second
#     operand raises


def _limited_jvp(primals: Any, tangents: Any, *, error: Any) -> Any:
    (value, watched), (change, _) = primals, tangents
    out = _limited_p.bind(value, watched, error=error)
    if isinstance(change, ad.Zero):
        return out, change
    # `once` has the value of its first operand, 1; its own derivative in `watched` raises
    once = once_p.bind(*alike(jnp.ones_like(value), watched), error=error)
    return out, once * change


_limited_p = _elementwise("limited", lambda value, _: value, _limited_jvp)


def limited(name: str, value: Any, watched: Any) -> Array:
    """`value`; its first derivative is legal, and a derivative of that through `watched` raises.

    Args:
      name: the estimator that the error message names.
      value: shape ().
      watched: arrays; a second derivative that goes through any of them is refused.
    Raises:
      DerivativeOrderError: a second derivative was taken.
    """
    value = as_inexact(value)
    leaves = [x for x in jax.tree.leaves(watched) if is_float_array(x)]
    total = jnp.zeros((), value.dtype)
    for leaf in leaves:
        total = total + jnp.sum(jnp.asarray(leaf)).astype(value.dtype)
    return _limited_p.bind(*alike(value, total), error=(DerivativeOrderError, order_message(name)))


def is_float_array(x: Any) -> bool:
    """Whether `x` is an array (or number) of floats, which can carry a derivative."""
    return is_array(x) and bool(jnp.issubdtype(jnp.result_type(x), jnp.floating))


# --- sample_sum: the sum over the vmapped axis of samples. lax.psum over a vmapped axis fails under shard_map's default
#     check_vma, and a string axis name would capture the user's own psum.

_sum_p = Primitive("logtrick_sample_sum")
_sum_p.def_impl(lambda x, **_: x)
_sum_p.def_abstract_eval(lambda x, **_: x)
# The lowering is reached only where the axis was summed before.
mlir.register_lowering(_sum_p, lambda ctx, x, **_: [x])


def _sum_batch(
    axis_data: Any, xs: Any, dims: Any, *, axis: Any, block: int | None, others: bool
) -> Any:
    (x,), (d,) = xs, dims
    if axis_data.name is not axis:
        return _sum_p.bind(x, axis=axis, block=block, others=others), d
    if block is None:
        return jnp.broadcast_to(x.sum(d, keepdims=True), x.shape), d
    x = jnp.moveaxis(x, d, 0)
    sums = x.reshape(x.shape[0] // block, block, *x.shape[1:]).sum(1)
    return jnp.repeat(_exclusive(sums) if others else sums, block, axis=0), 0


def _exclusive(x: Array) -> Array:
    """The sum of all other rows, from those before and those after: nothing cancels, whatever the row's own size."""
    none = jnp.zeros_like(x[:1])
    before, after = lax.cumsum(x, 0), lax.cumsum(x, 0, reverse=True)
    return jnp.concatenate([none, before[:-1]]) + jnp.concatenate([after[1:], none])


batching.fancy_primitive_batchers[_sum_p] = _sum_batch


def sample_sum(
    x: Any, index: Array, axis: Any, block: int | None = None, others: bool = False
) -> Array:
    """The sum of stopped `x` over the samples of a vmapped axis.

    Args:
      x: any shape, one sample's.
      index: the sample's index as a float, which makes `x` vary over the samples even where it is
        constant.
      axis: the name of the vmapped axis.
      block: sum within each block of so many consecutive samples; None for over all samples.
      others: with `block`: sum over the samples of all other blocks.
    """
    x = as_inexact(x)
    varied = stop(x + (0.0 * index).astype(x.dtype))
    return _sum_p.bind(varied, axis=axis, block=block, others=others)


# --- sample_index: the position of a sample on its vmapped axis. Inside of a shard_map, the result of lax.axis_index would
#     be marked as varying over a mesh axis of that name. The primitive has no operands: JAX calls its batching rule even
#     where nothing is batched.

_index_p = Primitive("logtrick_sample_index")
_INDEX_KIND = jax.typeof(np.uint32(0))


def _index_impl(*, axis: Any) -> Any:
    raise AssertionError("a sample's index was asked for outside of its samples")


def _index_batch(axis_data: Any, xs: Any, dims: Any, *, axis: Any) -> Any:
    if axis_data.name is not axis:
        return _index_p.bind(axis=axis), None
    return lax.iota(jnp.uint32, axis_data.size), 0


_index_p.def_impl(_index_impl)
_index_p.def_abstract_eval(lambda *, axis: _INDEX_KIND)
batching.fancy_primitive_batchers[_index_p] = _index_batch


def sample_index(axis: Any) -> Array:
    """The position of this sample on the vmapped axis named `axis`, a uint32."""
    return _index_p.bind(axis=axis)
