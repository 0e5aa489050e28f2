"""Frozen distributions of scipy.stats."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick import distributions as lt
from logtrick._core.calls import in_words
from logtrick._core.compat import is_tracer
from logtrick._core.kernel import as_inexact, is_array, refuse
from logtrick._core.module import static
from logtrick.adapters._foreign import class_name, load, whole_shape
from logtrick.noise import KeyPerRun
from logtrick.supports import Countable, Finite, Support, Unknown, grid

Array = jax.Array
Twin = Callable[[dict[str, Any]], lt.Distribution | None]
_WHERE = "lt.adapters.from_scipy"


class _SciPy(lt.Distribution):
    """A frozen scipy.stats distribution that draws and scores on the host; its parameters are constants."""

    frozen: Any = static()
    shape: tuple[int, ...] = static(default=())

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.shape

    @property
    def support(self) -> Support:
        if not hasattr(self.frozen, "logpmf"):
            return Unknown()
        return Finite() if self._values() is not None else Countable()

    @property
    def noise_spec(self) -> KeyPerRun:
        return KeyPerRun()

    @property
    def enumeration(self) -> lt.Enumeration | None:
        return lt.Enumeration(self._points) if self.support.finite else None

    def _transform(self, noise: Any) -> Array:
        def draw(words: Any) -> np.ndarray:
            rows = np.asarray(words).reshape(-1, words.shape[-1])
            draws = [
                self.frozen.rvs(size=self.shape, random_state=np.random.default_rng(row.tolist()))
                for row in rows
            ]
            return np.asarray(draws, result.dtype).reshape((*words.shape[:-1], *self.shape))

        result = jax.ShapeDtypeStruct(self.shape, jnp.result_type(float))
        return jax.pure_callback(
            draw, result, jax.random.key_data(noise), vmap_method="broadcast_all"
        )

    def _log_prob(self, x: Any) -> Array:
        def score(x: Any) -> np.ndarray:
            log_p = getattr(self.frozen, "logpmf", None) or self.frozen.logpdf
            values = np.asarray(log_p(np.asarray(x, np.float64)))
            return np.sum(
                values, axis=tuple(range(values.ndim - len(self.shape), values.ndim))
            ).astype(result.dtype)

        message = (
            f"SciPy.log_prob(x=…) of {self.frozen.dist.name} is computed on the host and has no derivative in x. Use a "
            "family of logtrick's, or stop_gradient on x."
        )
        result = jax.ShapeDtypeStruct((), jnp.result_type(float))
        return jax.pure_callback(
            score, result, refuse(as_inexact(x), message, TypeError), vmap_method="broadcast_all"
        )

    def _values(self) -> np.ndarray | None:
        """The values of a coordinate, where they are finitely many and the same for all coordinates."""
        low, high = (np.unique(end) for end in self.frozen.support())
        if (
            low.size > 1
            or high.size > 1
            or not np.isfinite([low[0], high[0]]).all()
            or high[0] - low[0] >= 2**20
        ):
            return None
        return np.arange(low[0], high[0] + 1.0)

    def _points(self) -> Array:
        values = self._values()
        assert values is not None
        return jnp.asarray(grid(values, self.shape, jnp.result_type(float)))


@in_words("lt.adapters.from_scipy")
def from_scipy(frozen: Any, event_ndims: int | None = None) -> lt.Distribution:
    """A frozen scipy.stats distribution as one of logtrick's.

    Where logtrick has the family (norm, lognorm, laplace, cauchy, t, uniform, expon, gamma, beta, bernoulli, binom, nbinom,
    poisson, multivariate_normal, dirichlet; without scipy's shift `loc` where the family has none) the result is that family:
    every estimator it allows, and derivatives reach parameters given as JAX values, traced ones too.

    Any other univariate family draws and scores on the host, by `jax.pure_callback`: one NumPy generator a run, seeded by the
    run's key. Its parameters are constants, its draws carry no derivative, `Enumerate` is legal where it is discrete with
    finite ends.

    Args:
      frozen: `scipy.stats.norm(0.0, 1.0)`, say.
      event_ndims: the number of dimensions of ONE draw where parameters are arrays, to sum the log-prob over them. Unless
        given, such parameters are an error.
    Returns:
      A distribution; discrete draws are floats.
    Raises:
      ImportError: SciPy is not installed.
      TypeError: `frozen` is not a frozen distribution of scipy.stats, a family is not supported, or traced parameters of a
        family that logtrick does not have.
      ValueError: array parameters without `event_ndims`; a custom `rv_discrete` whose values are no integers.
    Example:
      >>> import jax, logtrick as lt, scipy.stats
      >>> lt.adapters.from_scipy(scipy.stats.gamma(2.0, scale=0.5))
      Gamma(concentration=2.0, rate=2.0)
      >>> host = lt.adapters.from_scipy(scipy.stats.hypergeom(20, 7, 12))
      >>> round(lt.expect(jax.random.key(0), lambda x: x, host, estimator=lt.Enumerate()).item(), 4)      # 12 · 7 / 20
      4.2
    """
    stats = load(_WHERE, "scipy", "scipy.stats")
    kind = type(frozen).__name__
    if kind in ("multivariate_normal_frozen", "dirichlet_frozen"):
        vector = _multivariate(frozen, kind)
        whole_shape(_WHERE, "one distribution a draw", (), vector.event_shape, event_ndims)
        return vector
    if not isinstance(getattr(frozen, "dist", None), stats.rv_continuous | stats.rv_discrete):
        raise TypeError(
            f"{_WHERE}(frozen=…) needs a frozen univariate distribution of scipy.stats (or multivariate_normal, dirichlet); "
            f"got {kind}. Call the family with its parameters first."
        )
    values = _parameters(frozen)
    batch = np.broadcast_shapes(*(np.shape(value) for value in values.values()))
    shape = whole_shape(_WHERE, "scalar parameters", batch, (), event_ndims)
    twin = _twin(frozen, values)
    # a shift or scale of zeros and ones has a shape, too
    same = twin is not None and twin.event_shape == shape
    return twin if twin is not None and same else _host(frozen, values, shape)


def _twin(frozen: Any, values: dict[str, Any]) -> lt.Distribution | None:
    """The distribution of logtrick's of the same law, where there is one."""
    if frozen.dist.name not in _TWINS or class_name(frozen.dist, "scipy") == "":
        return None
    return _TWINS[frozen.dist.name](values)


def _host(frozen: Any, values: dict[str, Any], shape: tuple[int, ...]) -> lt.Distribution:
    traced = [name for name, value in values.items() if is_tracer(value)]
    if traced:
        raise TypeError(
            f"{_WHERE}(frozen=…) needs constant parameters for {frozen.dist.name}, which draws on the host; "
            f"got traced {', '.join(traced)}. Use one of the families that logtrick has, {', '.join(sorted(_TWINS))}, unshifted."
        )
    listed = np.asarray(getattr(frozen.dist, "xk", 0))
    if np.any(listed != np.floor(listed)):
        raise ValueError(
            f"{_WHERE}(frozen=…) needs integer values of an rv_discrete, since draws are rounded to JAX's floats; got "
            f"{listed}. Draw an index from lt.Categorical(log pk) and look the value up."
        )
    return _SciPy(frozen, shape)


def _parameters(frozen: Any) -> dict[str, Any]:
    """The parameters by name, loc and scale with their defaults."""
    named = [*(frozen.dist.shapes or "").replace(",", " ").split(), "loc", "scale"]
    given = {**dict(zip(named, frozen.args)), **frozen.kwds}
    values = {"loc": 0.0, "scale": 1.0, **given}
    return {name: value if is_array(value) else np.asarray(value) for name, value in values.items()}


def _is(value: Any, number: float) -> bool:
    return not is_tracer(value) and bool(np.all(np.asarray(value) == number))


def _unshifted(twin: Callable[[dict[str, Any]], lt.Distribution]) -> Twin:
    return lambda v: twin(v) if _is(v["loc"], 0) else None


def _beta(v: dict[str, Any]) -> lt.Distribution | None:
    return lt.Beta(v["a"], v["b"]) if _is(v["loc"], 0) and _is(v["scale"], 1) else None


def _binomial(v: dict[str, Any]) -> lt.Distribution | None:
    count = v["n"]
    if is_tracer(count) or np.ndim(count) or not _is(v["loc"], 0):
        return None
    return lt.Binomial(int(count), probs=v["p"])


def _negative_binomial(v: dict[str, Any]) -> lt.Distribution | None:
    if not _is(v["loc"], 0):
        return None
    p = as_inexact(
        v["p"]
    )  # of what lt.NegativeBinomial calls a failure; 1 - p would lose a small one
    return lt.NegativeBinomial(v["n"], jnp.log1p(-p) - jnp.log(p))


_TWINS: dict[str, Twin] = {
    "norm": lambda v: lt.Normal(v["loc"], v["scale"]),
    "laplace": lambda v: lt.Laplace(v["loc"], v["scale"]),
    "cauchy": lambda v: lt.Cauchy(v["loc"], v["scale"]),
    "t": lambda v: lt.StudentT(v["df"], v["loc"], v["scale"]),
    "uniform": lambda v: lt.Uniform(v["loc"], v["loc"] + v["scale"]),
    "lognorm": _unshifted(lambda v: lt.LogNormal(jnp.log(as_inexact(v["scale"])), v["s"])),
    "expon": _unshifted(lambda v: lt.Exponential(1 / v["scale"])),
    "gamma": _unshifted(lambda v: lt.Gamma(v["a"], 1 / v["scale"])),
    "beta": _beta,
    "poisson": _unshifted(lambda v: lt.Poisson(v["mu"])),
    "bernoulli": _unshifted(lambda v: lt.Bernoulli(probs=v["p"])),
    "nbinom": _negative_binomial,
    "binom": _binomial,
}


def _multivariate(frozen: Any, kind: str) -> lt.Distribution:
    if kind == "dirichlet_frozen":
        return lt.Dirichlet(jnp.asarray(frozen.alpha, float))
    factor = np.linalg.cholesky(np.asarray(frozen.cov, np.float64))
    return lt.MultivariateNormal(jnp.asarray(frozen.mean, float), jnp.asarray(factor, float))
