"""The adapters' cases: a foreign distribution, the exact expectation of a cost, the estimators that are legal."""

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import logtrick as lt

SCORE, PATHWISE, ENUMERATE = lt.ScoreFunction(), lt.Pathwise(), lt.Enumerate()
BITS, ROW, NORMAL = jnp.array([0.0, 0.7, -0.4]), jnp.array([0.0, 0.5, -0.3]), jnp.array([0.3, -0.2])
PLACES = jnp.array([1.0, 2.0, 3.0])


@dataclasses.dataclass(frozen=True)
class Case:
    """One foreign distribution.

    Attributes:
      packages: what must be installed.
      make: (foreign modules…, params) -> logtrick's distribution and the foreign one.
      exact: params -> E[cost], exactly.
      own_draws: it is a family of logtrick's, whose numbers from one key are others than the foreign ones.
    """

    name: str
    packages: tuple[str, ...]
    make: Callable[..., tuple[Any, Any]]
    params: Any
    cost: Callable[[Any], Any]
    exact: Callable[[Any], Any]
    legal: tuple[Any, ...]
    own_draws: bool = False

    def __call__(self, params: Any) -> Any:
        return self.both(params)[0]

    def both(self, params: Any) -> tuple[Any, Any]:
        return self.make(*(importlib.import_module(module) for module in self.packages), params)


def finite(family: Callable[[Any], Any], cost: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """E[cost] by the enumeration of logtrick's own family."""
    return lambda params: lt.testing.exact_expectation(cost, family(params))


def bits_cost(x: Any) -> Any:
    return (x @ PLACES - 0.9) ** 2


def row_cost(x: Any) -> Any:
    return PLACES[x] ** 2 - 0.3


def one_hot_cost(x: Any) -> Any:
    return (x @ PLACES) ** 2 - 0.3


def square(x: Any) -> Any:
    return jnp.sum(x**2)


def normal_square(loc: Any) -> Any:
    return jnp.sum(loc**2 + jnp.exp(2 * loc))


def gamma_square(log_a: Any) -> Any:
    a = jnp.exp(log_a)
    return a * (a + 1) / 4  # rate 2


def poisson_square(log_rate: Any) -> Any:
    return jnp.exp(log_rate) + jnp.exp(2 * log_rate)


def _pair(adapter: Callable[..., Any], foreign: Any, **kwargs: Any) -> tuple[Any, Any]:
    return adapter(foreign, **kwargs), foreign


NUMPYRO, DISTRAX, FLOWJAX = ("numpyro.distributions",), ("distrax",), ("flowjax.distributions",)
TFP = ("tensorflow_probability.substrates.jax.distributions",)
numpyro, distrax, tfp, flowjax = (
    getattr(lt.adapters, "from_" + n) for n in ("numpyro", "distrax", "tfp", "flowjax")
)
BY_BITS = {
    "params": BITS,
    "cost": bits_cost,
    "exact": finite(lt.Bernoulli, bits_cost),
    "legal": (SCORE, ENUMERATE),
}
BY_ROW = {
    "params": ROW,
    "cost": row_cost,
    "exact": finite(lt.Categorical, row_cost),
    "legal": (SCORE, ENUMERATE),
}
BY_ONE_HOT = {
    "params": ROW, "cost": one_hot_cost, "exact": finite(lt.OneHotCategorical, one_hot_cost), "legal": (SCORE, ENUMERATE)
}  # fmt: skip
BY_NORMAL = {"params": NORMAL, "cost": square, "exact": normal_square, "legal": (SCORE, PATHWISE)}
BY_GAMMA = {
    "params": jnp.array(0.4),
    "cost": square,
    "exact": gamma_square,
    "legal": (SCORE, PATHWISE),
}
BY_POISSON = {"params": jnp.array(0.2), "cost": square, "exact": poisson_square, "legal": (SCORE,)}

CASES = [
    Case("numpyro-bernoulli", NUMPYRO, lambda nd, l: _pair(numpyro, nd.Bernoulli(logits=l), event_ndims=1), **BY_BITS),
    Case("numpyro-bernoulli-event", NUMPYRO, lambda nd, l: _pair(numpyro, nd.Bernoulli(logits=l).to_event(1)), **BY_BITS),
    Case("numpyro-bernoulli-probs", NUMPYRO,
         lambda nd, l: _pair(numpyro, nd.Bernoulli(probs=jax.nn.sigmoid(l)).to_event(1)), **BY_BITS),
    Case("numpyro-categorical", NUMPYRO, lambda nd, l: _pair(numpyro, nd.Categorical(logits=l)), **BY_ROW),
    Case("numpyro-binomial", NUMPYRO, lambda nd, l: _pair(numpyro, nd.Binomial(4, logits=l)), jnp.array(0.0), square,
         finite(lambda l: lt.Binomial(4, l), square), (SCORE, ENUMERATE)),
    Case("numpyro-normal", NUMPYRO, lambda nd, m: _pair(numpyro, nd.Normal(m, jnp.exp(m)).to_event(1)), **BY_NORMAL),
    Case("numpyro-gamma", NUMPYRO, lambda nd, a: _pair(numpyro, nd.Gamma(jnp.exp(a), 2.0)), **BY_GAMMA),
    Case("numpyro-poisson", NUMPYRO, lambda nd, r: _pair(numpyro, nd.Poisson(jnp.exp(r))), **BY_POISSON),
    Case("distrax-bernoulli", DISTRAX, lambda dx, l: _pair(distrax, dx.Bernoulli(logits=l), event_ndims=1), **BY_BITS),
    Case("distrax-bernoulli-event", DISTRAX,
         lambda dx, l: _pair(distrax, dx.Independent(dx.Bernoulli(logits=l), 1)), **BY_BITS),
    Case("distrax-categorical", DISTRAX, lambda dx, l: _pair(distrax, dx.Categorical(logits=l)), **BY_ROW),
    Case("distrax-one-hot", DISTRAX, lambda dx, l: _pair(distrax, dx.OneHotCategorical(logits=l)), **BY_ONE_HOT),
    Case("distrax-normal", DISTRAX, lambda dx, m: _pair(distrax, dx.MultivariateNormalDiag(m, jnp.exp(m))), **BY_NORMAL),
    Case("distrax-gamma", DISTRAX, lambda dx, a: _pair(distrax, dx.Gamma(jnp.exp(a), 2.0)), **BY_GAMMA),
    Case("tfp-bernoulli", TFP, lambda td, l: _pair(tfp, td.Bernoulli(logits=l), event_ndims=1), **BY_BITS),
    Case("tfp-bernoulli-event", TFP, lambda td, l: _pair(tfp, td.Independent(td.Bernoulli(logits=l), 1)), **BY_BITS),
    Case("tfp-categorical", TFP, lambda td, l: _pair(tfp, td.Categorical(logits=l)), **BY_ROW),
    Case("tfp-one-hot", TFP, lambda td, l: _pair(tfp, td.OneHotCategorical(logits=l)), **BY_ONE_HOT),
    Case("tfp-normal", TFP, lambda td, m: _pair(tfp, td.MultivariateNormalDiag(m, jnp.exp(m))), **BY_NORMAL),
    Case("tfp-gamma", TFP, lambda td, a: _pair(tfp, td.Gamma(jnp.exp(a), 2.0)), own_draws=True, **BY_GAMMA),
    Case("tfp-poisson", TFP, lambda td, r: _pair(tfp, td.Poisson(jnp.exp(r))), **BY_POISSON),
    Case("flowjax-normal", FLOWJAX, lambda fd, m: _pair(flowjax, fd.Normal(m, jnp.exp(m))), **BY_NORMAL),
    Case("flowjax-gamma", FLOWJAX, lambda fd, a: _pair(flowjax, fd.Gamma(jnp.exp(a), 0.5)), **BY_GAMMA),
]  # fmt: skip
