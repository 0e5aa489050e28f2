"""What a distribution is: one draw, a scalar log-prob, and declarations of what estimators may do with it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick import noise as _noise
from logtrick._core.kernel import detached, refuse
from logtrick._core.keys import as_key
from logtrick._core.module import Module, replace
from logtrick.distributions._draw import Draw, is_draw, same_charts, value_of
from logtrick.distributions._keywords import naming_the_right_keyword
from logtrick.distributions._links import Link
from logtrick.distributions._parameters import is_inexact, widened
from logtrick.distributions._refusals import moving_support_message, unaccounted
from logtrick.distributions._weak import WeakDerivative, spread
from logtrick.supports import Support

Array = jax.Array


class Distribution(Module, abstract=True):
    """A distribution over ONE draw: a frozen pytree with `sample(key)` and `log_prob(x)`.

    Every array dimension of the parameters is the event: `Normal(jnp.zeros(3), 1.0)` draws vectors of three and its
    log-prob is a scalar. Batching is `jax.vmap`. Noise stands apart from its transform: `noise_spec` declares
    parameter-free noise, `transform(noise)` is deterministic, `sample(key)` composes them. Subclasses define
    `noise_spec`, `_transform`, `_log_prob`, `event_shape`, `support`, and declare the attributes below.

    Attributes:
      reparameterized: a derivative through `transform` is the pathwise derivative; otherwise it raises.
      splits: the noise is rows of a counter-based draw, not one key per sample.
      moving_support: names of the parameters that move the support; the score function refuses their derivative.
      factorized: log p is a sum of independent factors, which `log_prob_factors` gives one by one.
      provides: what it has in closed form, of "mean", "variance", "entropy", "kl_divergence", "cdf", "cdf_derivative"
        (JAX can differentiate the cdf in every parameter), "inverse_cdf", "standardization".
      weak_parameters: the parameters in which it has weak derivatives; empty where it declares none.
      link: how `logits` make the mean of a draw, where draws are independent bits or one-hot rows; None elsewhere.
      opaque: its functions are a user's and may close over what is not in its leaves.

    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> dist = lt.Normal(jnp.zeros(3), 1.0)
      >>> x = dist.sample(jax.random.key(0))
      >>> x.shape, dist.log_prob(x).shape
      ((3,), ())
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__init__ = naming_the_right_keyword(cls.__init__)  # type: ignore[method-assign]  # it wraps the dataclass's

    # --- what a family declares; as properties, for those of a mixture are its components'

    @property
    def reparameterized(self) -> bool:
        """Whether a derivative through `transform` is the pathwise derivative."""
        return False

    @property
    def moving_support(self) -> tuple[str, ...]:
        """Names of the parameters that move the support."""
        return ()

    @property
    def factorized(self) -> bool:
        """Whether log p is a sum of independent factors."""
        return False

    @property
    def provides(self) -> frozenset[str]:
        """What it has in closed form."""
        return frozenset()

    @property
    def weak_parameters(self) -> tuple[str, ...]:
        """The parameters in which it has weak derivatives."""
        return ()

    @property
    def link(self) -> Link | None:
        """How `logits` make the mean of a draw; None where draws are neither independent bits nor one-hot rows."""
        return None

    @property
    def opaque(self) -> bool:
        """Whether its functions are a user's."""
        return False

    @property
    def charts(self) -> Any:
        """The bijector from the coordinates of its draws to their values, as `charts_of` gives it; None: no coordinates."""
        return None

    # --- what a family defines; of those below `_points`, what it declares

    @property
    def event_shape(self) -> Any:
        """The shape of one draw; a pytree of shapes for structured draws, None where it is not declared."""
        raise NotImplementedError

    @property
    def support(self) -> Support:
        """Where draws live."""
        raise NotImplementedError

    @property
    def noise_spec(self) -> Any:
        """The parameter-free noise of one draw: a tree of `Noise`."""
        raise NotImplementedError

    def _transform(self, noise: Any) -> Any:
        """The draw that `noise` makes, or a `Draw`, differentiable where the family is reparameterized."""
        raise NotImplementedError

    def _draw_with(self, change: Callable[[Any], Any], noise: Any) -> Any:
        """The draw, with `change` applied to everything on which it depends besides the noise.

        A distribution made of others applies it to each of these; one of a user's functions also to the arrays over
        which these close.
        """
        return widened(change(self))._transform(noise)

    def _log_prob(self, x: Any) -> Array:
        raise NotImplementedError

    def _points(self) -> Any:
        """Every point of a finite support, stacked."""
        raise NotImplementedError

    def _log_factors(self, x: Any) -> Array:
        raise NotImplementedError

    def _mean(self) -> Any:
        raise NotImplementedError

    def _variance(self) -> Any:
        raise NotImplementedError

    def _entropy(self) -> Array:
        raise NotImplementedError

    def _kl_divergence(self, other: Any) -> Array:
        raise NotImplementedError

    def _cdf(self, x: Any) -> Array:
        raise NotImplementedError

    def _inverse_cdf(self, u: Array) -> Array:
        raise NotImplementedError

    def _standardization(self) -> tuple[Array, Array]:
        raise NotImplementedError

    def _weak_noise_spec(self, coupled: bool) -> Any:
        raise NotImplementedError

    def _weak_derivatives(
        self, x: Any, noise: Any, coupled: bool
    ) -> dict[str, tuple[Array, Any, Any]]:
        """For each parameter, the coefficient, and the entries of x that take an entry's place at plus and minus."""
        raise NotImplementedError

    # --- what everybody calls

    @property
    def splits(self) -> bool:
        """Whether noise stands apart from its transform."""
        leaves = jax.tree.leaves(self.noise_spec, is_leaf=_noise.is_noise)
        return not any(isinstance(leaf, _noise.KeyPerRun) for leaf in leaves)

    def noise(self, key: Array) -> Any:
        """The parameter-free noise of one draw."""
        return _noise.one(self.noise_spec, key)

    def transform(self, noise: Any) -> Any:
        """The draw that `noise` makes. Its derivative is the pathwise derivative, or raises where there is none."""
        if self.reparameterized:
            return value_of(rounded(self, widened(self)._transform(noise)))
        refused = lambda tree: refuse(tree, unaccounted(self))
        return value_of(rounded(self, self._draw_with(refused, noise)))

    def draw(self, noise: Any) -> Any:
        """The draw that `noise` makes, with the parameters held constant: what a score-function estimator draws.

        Returns:
          The draw; a `Draw`, its value and the coordinates in which it was made, where the family's draws may round onto
          an open edge of the support. `value_of` gives the value, and `log_prob` takes either.
        """
        return detached(rounded(self, self._draw_with(detached, noise)))

    def sample(self, key: Any) -> Any:
        """One draw.

        Args:
          key: a typed key; keys come first.
        Returns:
          The draw, shape `event_shape`, in the parameters' dtype.
        Raises:
          UnaccountedRandomnessError: differentiated, where the family is not reparameterized.
        """
        return self.transform(self.noise(as_key(key)))

    def log_prob(self, x: Any) -> Array:
        """log p(x) of ONE draw, shape (); −inf outside the support.

        Args:
          x: a value, or what `draw` returned: a `Draw` in it is evaluated from its coordinates.
        Raises:
          ValueError: `x` is not shaped like one draw.
        """
        self._check_draw("log_prob", x)
        return widened(self)._log_prob(widened(self._readable(x)))

    def log_prob_factors(self, x: Any) -> Array:
        """The independent terms of log p(x), one for each coordinate of the event (one-hot rows: for each row).

        Raises:
          ValueError: the family does not factorize, or `x` is not shaped like one draw.
        """
        if not self.factorized:
            raise ValueError(
                f"{type(self).__name__} declares no independent factors. Use log_prob."
            )
        self._check_draw("log_prob_factors", x)
        return widened(self)._log_factors(widened(self._readable(x)))

    def _readable(self, x: Any) -> Any:
        """`x`, or its value where its coordinates are not those of this family's own draws."""
        return x if same_charts(x, self.charts) else value_of(x)

    def _check_draw(self, method: str, x: Any) -> None:
        want = self.event_shape
        shape = want if want is None else jax.tree.map(np.shape, value_of(x))
        if shape != want:
            raise ValueError(
                f"{type(self).__name__}.{method}(x=…) needs one draw, shape {want}; got {shape}. "
                "Use jax.vmap over draws."
            )

    @property
    def slopes_at_zero(self) -> bool:
        """Whether a probability of 0 can have a derivative: where parameters are probabilities, and not logits."""
        return False

    def prob(self, x: Any) -> Array:
        """p(x) of one draw, shape (); its derivative is right also where p(x) = 0, if `slopes_at_zero`.

        Example:
          >>> import jax, logtrick as lt
          >>> jax.grad(lambda p: lt.Bernoulli(probs=p).prob(1.0))(0.0).item()
          1.0
        """
        return widened(self)._prob(value_of(x))

    def _prob(self, x: Any) -> Array:
        log_p = self._log_prob(x)
        empty = log_p == -jnp.inf
        return jnp.where(empty, 0.0, jnp.exp(jnp.where(empty, 0.0, log_p)))

    def nan_unless_legal(self) -> Array | None:
        """0, or nan where traced parameters are illegal and draws, whole numbers, cannot show that: add it to the value.

        None where nothing is to be added: parameters are known, or illegal ones make draws that are nan.
        """
        return None

    def reflect(self, noise: Any) -> Any:
        """The antithetic noise, of the same law: −ε for normals, 1 − u (on the grid of draws) for uniforms.

        Raises:
          ValueError: the noise is one key per sample.
        """
        if not self.splits:
            raise ValueError(
                f"{type(self).__name__} draws from one key per sample, which has no antithesis. Use IID()."
            )
        return jax.tree.map(
            lambda spec, value: spec.reflect(value), self.noise_spec, noise, is_leaf=_noise.is_noise
        )

    def fixed_support(self) -> "Distribution":
        """The same distribution, refusing derivatives in the parameters that move its support.

        ∇E[f] = E[f ∇log p] holds only where the support stands still; the boundary's term is missing otherwise.
        """
        if not self.moving_support:
            return self
        message = moving_support_message(self)
        return replace(
            self, **{n: refuse(getattr(self, n), message, ValueError) for n in self.moving_support}
        )

    # --- closed forms, where `provides` names them

    def mean(self) -> Any:
        """E x, shaped like a draw."""
        return self._closed_form("mean")

    def variance(self) -> Any:
        """The variance of every coordinate, shaped like a draw."""
        return self._closed_form("variance")

    def entropy(self) -> Array:
        """−E log p(x), shape (), in nats."""
        return self._closed_form("entropy")

    def kl_divergence(self, other: "Distribution") -> Array:
        """E log p(x) − log q(x), shape (), in nats; p is this distribution, q is `other`, of the same family.

        Raises:
          ValueError: it is not of the same family or event shape, or the family has no closed form.
        """
        if type(other) is not type(self) or other.event_shape != self.event_shape:
            raise ValueError(
                f"{type(self).__name__}.kl_divergence(other=…) needs a {type(self).__name__} of event shape "
                f"{self.event_shape}; got {other!r}. Estimate it with lt.expect."
            )
        return self._closed_form("kl_divergence", widened(other))

    def cdf(self, x: Any) -> Array:
        """P(X ≤ x) of every coordinate, shaped like a draw."""
        return self._closed_form("cdf", widened(x))

    def inverse_cdf(self, u: Array) -> Array:
        """The smallest x with P(X ≤ x) ≥ u of every coordinate; its derivative is pathwise, or raises.

        Args:
          u: uniforms in (0, 1), shaped like a draw.
        """
        if self.reparameterized:
            return self._closed_form("inverse_cdf", u)
        return refuse(self, unaccounted(self))._closed_form("inverse_cdf", u)

    def standardization(self) -> tuple[Array, Array]:
        """Mean and standard deviation of the unconstrained draw: x itself, log x of positive x, the logit of x in (0, 1)."""
        return self._closed_form("standardization")

    def weak_noise_spec(self, *, coupled: bool = True) -> Any:
        """The parameter-free noise that `weak_derivatives` needs: `{"draw": …, "weak": …}`."""
        self._check_weak()
        return {"draw": self.noise_spec, "weak": self._weak_noise_spec(coupled)}

    def weak_derivatives(self, noise: Any, *, coupled: bool = True) -> tuple[WeakDerivative, ...]:
        """The weak derivative in every parameter: ∇_θ E[f] = E[c (f(x⁺) − f(x⁻))].

        Args:
          noise: of `weak_noise_spec(coupled=…)`; `draw(noise["draw"])` is the draw whose other coordinates are kept.
          coupled: x⁺ and x⁻ share noise; otherwise they are independent given those coordinates.
        Returns:
          One `WeakDerivative` for each parameter that has one; the derivative in the others raises.
        Raises:
          ValueError: the family declares none.
        References:
          Pflug (1989), "Sampling Derivatives of Probabilities"; Mohamed, Rosca, Figurnov & Mnih (2020), "Monte Carlo
          Gradient Estimation in Machine Learning", table 1.
        """
        self._check_weak()
        x = value_of(self.draw(noise["draw"]))
        held, wide = detached(widened(self)), widened(self)
        leaves = [f.name for f in dataclasses.fields(wide) if not f.metadata.get("static")]
        message = (
            f"MeasureValued() needs a weak derivative in every parameter that is differentiated; {type(self).__name__} has "
            f"weak derivatives in {', '.join(self.weak_parameters)} only. Use ScoreFunction(), or stop_gradient on the other "
            "parameters."
        )
        others = {
            n: refuse(getattr(wide, n), message, ValueError)
            for n in leaves
            if n not in self.weak_parameters
        }
        parts = replace(held, **others)._weak_derivatives(widened(x), noise["weak"], coupled)
        factors = jax.eval_shape(self._log_factors, x).shape
        return tuple(
            spread(getattr(self, name), x, factors, *parts[name]) for name in self.weak_parameters
        )

    def _closed_form(self, name: str, *args: Any) -> Any:
        self._check_provides(name)
        return getattr(widened(self), "_" + name)(*args)

    def _check_provides(self, name: str) -> None:
        if name not in self.provides:
            raise ValueError(
                f"{type(self).__name__} has no {name} in closed form; it has {sorted(self.provides)}. Use lt.expect."
            )

    def _check_weak(self) -> None:
        if not self.weak_parameters:
            raise ValueError(
                f"{type(self).__name__} declares no weak derivatives. Use ScoreFunction()."
            )

    def enumerate(self) -> Any:
        """Every point of the support, with a leading axis.

        Raises:
          ValueError: the support is not finite.
        """
        if not self.support.finite:
            raise ValueError(
                f"{type(self).__name__} has no finite support to enumerate. Use ScoreFunction(), or a finite family."
            )
        return jax.tree.map(jnp.asarray, self._points())


def rounded(dist: Distribution, draw: Any) -> Any:
    """`draw`, made in at least float32, with its values rounded to the parameters' dtype."""
    if widened(dist) is dist:
        return draw
    dtype = jnp.result_type(*jax.tree.leaves(dist))
    cast = lambda x: x.astype(dtype) if is_inexact(x) else x
    of_one = lambda x: Draw(cast(x.value), x.coordinates, x.chart) if is_draw(x) else cast(x)
    return jax.tree.map(of_one, draw, is_leaf=is_draw)
