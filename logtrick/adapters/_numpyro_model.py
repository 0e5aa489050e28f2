"""A NumPyro model as a log density."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.calls import in_words
from logtrick._core.compat import is_tracer
from logtrick.adapters._foreign import load
from logtrick.adapters._numpyro import support_of
from logtrick.supports import Support

Array = jax.Array
_WHERE = "lt.adapters.from_numpyro_model"


@dataclasses.dataclass(frozen=True)
class NumPyroModel:
    """A log density over the latent sites of a model, for `lt.vi`.

    Attributes:
      log_density: {site: value} in the constrained space -> log p(latents, data), shape ().
      supports: {site: Support}, from which `lt.vi` chooses its bijectors.
      like: {site: zeros} of the shapes and dtypes of the latents.
    """

    log_density: Callable[[Any], Array]
    supports: dict[str, Support]
    like: dict[str, Array]


@in_words("lt.adapters.from_numpyro_model")
def from_numpyro_model(model: Callable[..., Any], *args: Any, **kwargs: Any) -> NumPyroModel:
    """The log density of a NumPyro model, constants included, and where its latents live.

    `log_density({site: value})` = Σ_sites log p(value | its parents), latent and observed, in the constrained space, for
    `lt.vi.fit(key, m.log_density, …, like=m.like, support=m.supports)`. Discrete latents are allowed.

    Two other sources of densities, for which no adapter is needed:

    PyMC. Import jax and touch a device first, since PyMC's module sets XLA_FLAGS to 100 host devices. The function takes a
    list, ordered like `model.value_vars`, in the UNconstrained space, with the Jacobian; `negative_logp=True`, the default,
    gives +log p, whatever its name says::

        import jax; jax.devices()
        from pymc.sampling.jax import get_jaxified_logp
        logp = get_jaxified_logp(model)                       # not negative_logp=False, which gives −log p
        names = [v.name for v in model.value_vars]
        log_density = lambda z: logp([z[name] for name in names])

    BridgeStan (a host function, unconstrained). `propto=True`, the default, drops constants, which an ELBO needs::

        shape = jax.ShapeDtypeStruct((), jnp.float32)
        host = lambda z: np.float32(stan.log_density(np.asarray(z, np.float64), propto=False, jacobian=True))
        log_density = lambda z: jax.pure_callback(host, shape, jax.lax.stop_gradient(z), vmap_method="sequential")

    stop_gradient makes it legal under `jax.grad`, and makes its derivative zero: for score-function objectives only, or
    with `stan.log_density_gradient` in a `jax.custom_vjp`.

    Args:
      model: a NumPyro model.
      *args: its arguments, data included; concrete arrays.
      **kwargs: its keyword arguments.
    Returns:
      A `NumPyroModel`.
    Raises:
      ImportError: NumPyro is not installed.
      ValueError: a plate that draws a subsample, whose density is random; no latent sites; a support that depends on
        another site's value, for which no bijector is fixed.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt, numpyro, numpyro.distributions as nd
      >>> def model(y):
      ...     scale = numpyro.sample("scale", nd.Exponential(1.0))
      ...     numpyro.sample("y", nd.Normal(0.0, scale), obs=y)
      >>> m = lt.adapters.from_numpyro_model(model, jnp.array(2.0))
      >>> m.supports, round(m.log_density({"scale": 1.0}).item(), 4)       # −1 − 2 − log √2π
      ({'scale': Positive()}, -3.9189)
    """
    numpyro = load(_WHERE, "numpyro", "numpyro")
    log_density = load(_WHERE, "numpyro", "numpyro.infer.util").log_density
    seeded = numpyro.handlers.seed(model, jax.random.key(0))
    latents = _latents(numpyro.handlers.trace(seeded).get_trace(*args, **kwargs))
    like = {name: jnp.zeros_like(site["value"]) for name, site in latents.items()}
    values = {name: site["value"] for name, site in latents.items()}
    _refuse_moving(numpyro, seeded, args, kwargs, values)

    def density(z: Any) -> Array:
        if set(z) != set(like):
            raise ValueError(
                f"{_WHERE}: log_density(z) needs the sites {sorted(like)}; got {sorted(z)}. Pass all of them."
            )
        for name, value in z.items():
            if jnp.shape(value) != like[name].shape:
                raise ValueError(
                    f"{_WHERE}: log_density(z) needs {name!r} of shape {like[name].shape}; got {jnp.shape(value)}. Use "
                    "jax.vmap over draws."
                )
        return jnp.asarray(log_density(model, args, kwargs, z)[0])

    return NumPyroModel(
        density, {name: support_of(site["fn"].support) for name, site in latents.items()}, like
    )


def _latents(trace: Any) -> dict[str, Any]:
    for name, site in trace.items():
        if site["type"] == "plate" and site["args"][1] not in (None, site["args"][0]):
            raise ValueError(
                f"{_WHERE}(model=…) needs a density without randomness; plate {name!r} draws {site['args'][1]} of "
                f"{site['args'][0]}. Leave out subsample_size and pass the minibatch by lt.vi.minibatch."
            )
    latents = {n: s for n, s in trace.items() if s["type"] == "sample" and not s["is_observed"]}
    if not latents:
        raise ValueError(
            f"{_WHERE}(model=…) needs latent sites; got {sorted(trace)}, all observed. Leave one unobserved."
        )
    return latents


def _refuse_moving(numpyro: Any, seeded: Any, args: Any, kwargs: Any, values: Any) -> None:
    """No support may depend on the value of a site: differentiation shows which bounds do."""
    floats = {
        name: value for name, value in values.items() if jnp.issubdtype(value.dtype, jnp.floating)
    }

    def trace(floats: Any) -> Any:
        conditioned = numpyro.handlers.substitute(seeded, data={**values, **floats})
        for name, site in _latents(
            numpyro.handlers.trace(conditioned).get_trace(*args, **kwargs)
        ).items():
            if any(is_tracer(bound) for bound in jax.tree.leaves(site["fn"].support)):
                raise ValueError(
                    f"{_WHERE}(model=…) needs supports that stand still; that of site {name!r} depends on another site (or on "
                    "a traced argument). Reparameterize it: draw it from a fixed interval and scale it."
                )
        return floats

    jax.jvp(trace, (floats,), (jax.tree.map(jnp.ones_like, floats),))
