"""`lt.distribution`: a family from two plain functions of one draw."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.calls import described, in_words, method_in_words
from logtrick._core.kernel import is_array, refuse
from logtrick._core.module import Module, static
from logtrick.distributions._base import Distribution
from logtrick.distributions._parameters import Array
from logtrick.noise import KeyPerRun
from logtrick.supports import Support, Unknown

LogProb = Callable[[Any, Any], Any]
Sampler = Callable[[Any, Any], Any]


class _Custom(Distribution):
    """A distribution of a user's family."""

    params: Any
    functions: tuple[LogProb, Sampler] = static()
    may_hide_parameters = True

    @property
    def event_shape(self) -> None:
        return None

    @property
    def support(self) -> Support:
        return Unknown()

    @property
    def noise_spec(self) -> KeyPerRun:
        return KeyPerRun()

    def _transform(self, noise: Any) -> Any:
        return _draw(self.functions[1](noise, self.params))

    def _draw_with(self, change: Callable[[Any], Any], noise: Any) -> Any:
        # The sampler may close over parameters as well: closure_convert brings every differentiable array to light.
        leaves, tree = jax.tree.flatten(self.params)
        arrays = [leaf for leaf in leaves if is_array(leaf)]

        def sample(noise: Any, arrays: list[Any]) -> Any:
            given = iter(arrays)
            params = jax.tree.unflatten(
                tree, [next(given) if is_array(leaf) else leaf for leaf in leaves]
            )
            return _draw(self.functions[1](noise, params))

        converted, outside = jax.closure_convert(sample, noise, arrays)
        return converted(noise, change(arrays), *change(outside))

    def _log_prob(self, x: Any) -> Array:
        return checks.scalar_log_prob("lt.distribution", self.functions[0](self.params, x))


def _draw(x: Any) -> Any:
    """What a user's sampler returned."""
    if not jax.tree.leaves(x):
        raise TypeError(
            f"lt.distribution(sample=…) must return one draw; got {described(x)}. Return the array."
        )
    return x


class Family(Module):
    """A family of distributions; called with parameters it gives one of them. Made by `lt.distribution`.

    Args:
      functions: `log_prob(params, x)` and `sample(key, params)`.
    Example:
      >>> import jax, logtrick as lt
      >>> family = lt.distribution(lambda rate, x: jax.numpy.log(rate) - rate * x,
      ...                          lambda key, rate: jax.random.exponential(key) / rate)
      >>> round(family(2.0).log_prob(1.0).item(), 4)                # log 2 − 2
      -1.3069
    """

    functions: tuple[LogProb, Sampler] = static()

    @method_in_words
    def __call__(self, params: Any) -> Distribution:
        """The distribution with parameters `params`, a pytree of real arrays (complex ones are never differentiated)."""
        return _Custom(jax.tree.map(_no_complex_derivative, params), self.functions)


def _no_complex_derivative(leaf: Any) -> Any:
    if not is_array(leaf) or not jnp.issubdtype(jnp.result_type(leaf), jnp.complexfloating):
        return leaf
    message = (
        f"lt.distribution: a derivative in a parameter of dtype {jnp.result_type(leaf)} was taken; the score of complex "
        "parameters is not defined here. Pass their real and imaginary parts, or stop_gradient on them."
    )
    return refuse(leaf, message, TypeError)


_KEYS = ("key", "rng", "rng_key", "prng_key", "seed")
_PARAMS = ("params", "p", "parameters", "theta")


def _check_order(log_prob: Any, sample: Any) -> None:
    """The functions take their two arguments in the right order, as far as their names tell."""
    density = _argument_names(log_prob)
    sampler = _argument_names(sample)
    if density and (len(density) != 2 or density[0] in _KEYS):
        advice = " The two functions are swapped." if density[0] in _KEYS else ""
        raise TypeError(
            f"lt.distribution(log_prob=…) is called with (params, x); got a function of ({', '.join(density)}).{advice}"
        )
    if sampler and (len(sampler) != 2 or sampler[1] in _KEYS):
        raise TypeError(
            f"lt.distribution(sample=…) is called with (key, params) and returns ONE draw; got a function of "
            f"({', '.join(sampler)}). Keys come first; batching is jax.vmap's."
        )
    if density and density[0] in ("x", "value", "draw") and density[1] in _PARAMS:
        raise TypeError(
            f"lt.distribution(log_prob=…) is called with (params, x); got a function of ({', '.join(density)}). Parameters "
            "come first."
        )


def _argument_names(function: Any) -> list[str]:
    """The required positional arguments; none where the signature does not tell whether two are taken."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p.name for p in parameters if p.kind in kinds and p.default is p.empty]
    most = sum(p.kind in kinds for p in parameters)
    return required if len(required) >= 2 or most < 2 else []


@in_words("lt.distribution")
def distribution(log_prob: LogProb, sample: Sampler) -> Family:
    """A family of distributions from two functions of ONE draw.

    Args:
      log_prob: `log_prob(params, x) -> scalar`, a JAX function; `jax.grad` of it is the score. The support must not move
        with the parameters: the score function then misses the boundary's term, and nothing says so (`lt.Uniform` declares
        it and is refused). `lt.testing.check_distribution` finds such a pair, and functions that do not belong together.
      sample: `sample(key, params) -> x`. Its derivative is never used, and raises where it would be.
    Returns:
      A family: `family(params)` is a distribution.
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> geometric = lt.distribution(
      ...     lambda logit, x: x * jax.nn.log_sigmoid(-logit) + jax.nn.log_sigmoid(logit),
      ...     lambda key, logit: jnp.floor(jnp.log(jax.random.uniform(key)) / jax.nn.log_sigmoid(-logit)))
      >>> mean = lambda logit: lt.expect(jax.random.key(0), lambda x: x, geometric(logit), num_samples=100_000)
      >>> round(mean(0.0).item(), 1), round(jax.grad(mean)(0.0).item(), 1)     # E x = e^{−logit}
      (1.0, -1.0)
    """
    for name, function, form in (
        ("log_prob", log_prob, "(params, x)"),
        ("sample", sample, "(key, params)"),
    ):
        if not callable(function):
            raise TypeError(
                f"lt.distribution({name}=…) needs a function; got {described(function)}. Pass {name}{form}."
            )
    _check_order(log_prob, sample)
    return Family((log_prob, sample))
