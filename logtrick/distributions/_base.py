"""What a distribution is: one draw, a scalar log-prob, and declarations of what estimators may do with it."""

import abc
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick import noise as _noise
from logtrick._core.calls import described, method_in_words
from logtrick._core.kernel import detached, refuse
from logtrick._core.keys import as_key
from logtrick._core.module import Module, is_ours, replace
from logtrick.distributions._capabilities import (
    ClosedForms,
    Enumeration,
    Factors,
    Quantiles,
    known,
)
from logtrick.distributions._draw import Draw, is_draw, same_charts, value_of
from logtrick.distributions._keywords import naming_the_right_keyword, one_draw
from logtrick.distributions._noisy_logits import NoisyLogits
from logtrick.distributions._parameters import is_inexact, widened
from logtrick.distributions._refusals import held, moving_support_message, refused, unaccounted
from logtrick.distributions._weak import WeakDerivatives
from logtrick.supports import Support

Array = jax.Array


class Distribution(Module, abstract=True):
    """A distribution over ONE draw: a frozen pytree with `sample(key)` and `log_prob(x)`.

    Every array dimension of the parameters is the event: `Normal(jnp.zeros(3), 1.0)` draws vectors of three and its
    log-prob is a scalar. Batching is `jax.vmap`. Noise stands apart from its transform: `noise_spec` declares
    parameter-free noise, `transform(noise)` is deterministic, `sample(key)` composes them.

    Subclasses define `event_shape`, `support`, `noise_spec`, `_transform` and `_log_prob`, and declare what holds of the
    attributes below. What a family can do beyond that is an object, or None where it cannot: estimators, baselines and
    plans ask for these objects and for nothing else.

    Attributes:
      reparameterized: a derivative through `transform` is the pathwise derivative; otherwise it raises.
      moving_support: names of the parameters that move the support; the score function refuses their derivative.
      may_hide_parameters: its functions are a user's and may read what is not in its leaves.
      charts: the bijectors from the coordinates in which draws are made to their values; None: no coordinates.
      closed_forms: `ClosedForms`, mean, variance, entropy and Kullback–Leibler divergence.
      quantiles: `Quantiles`, the distribution function and its inverse.
      independent_factors: `Factors`, log p as a sum of independent terms.
      enumeration: `Enumeration`, the points of a finite support.
      weak_derivatives: `WeakDerivatives`, in the parameters that have them.
      noisy_logits: `NoisyLogits`, how noise added to `logits` makes a draw, where draws are bits or one-hot rows.

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

    # --- what a family defines

    @property
    @abc.abstractmethod
    def event_shape(self) -> Any:
        """The shape of one draw; a pytree of shapes for structured draws, None where it is not declared."""

    @property
    @abc.abstractmethod
    def support(self) -> Support:
        """Where draws live."""

    @property
    @abc.abstractmethod
    def noise_spec(self) -> Any:
        """The parameter-free noise of one draw: a tree of `Noise`."""

    @abc.abstractmethod
    def _transform(self, noise: Any) -> Any:
        """The draw that `noise` makes, or a `Draw`, differentiable where the family is reparameterized."""

    @abc.abstractmethod
    def _log_prob(self, x: Any) -> Array:
        """log p(x), shape (), of a draw that is shaped as it should be, in at least float32."""

    def _draw_with(self, change: Callable[[Any], Any], noise: Any) -> Any:
        """The draw, with `change` applied to everything on which it depends besides the noise.

        A distribution made of other distributions applies it to each of them; one made of a user's functions applies it
        also to the arrays over which these functions close.
        """
        return widened(change(self))._transform(noise)

    # --- what a family declares: properties, since those of a mixture depend on its components

    @property
    def reparameterized(self) -> bool:
        """Whether a derivative through `transform` is the pathwise derivative."""
        return False

    @property
    def moving_support(self) -> tuple[str, ...]:
        """Names of the parameters that move the support."""
        return ()

    @property
    def may_hide_parameters(self) -> bool:
        """Whether its functions may read what is not in its leaves: those of a class outside of the package may."""
        return not is_ours(self)

    @property
    def checks_draws(self) -> bool:
        """Whether its draws are another library's, and may be where nothing can be: a cost of such a draw is nan."""
        return False

    @property
    def charts(self) -> Any:
        """The bijectors from the coordinates of its draws to their values, as `charts_of` gives them."""
        return None

    @property
    def closed_forms(self) -> ClosedForms:
        """The expectations that are known in closed form."""
        return ClosedForms()

    @property
    def quantiles(self) -> Quantiles:
        """The distribution function and its inverse."""
        return Quantiles()

    @property
    def independent_factors(self) -> Factors | None:
        """log p as a sum of independent factors; None where it does not factorize."""
        return None

    @property
    def enumeration(self) -> Enumeration | None:
        """The points of its support; None where that is not finite."""
        return None

    @property
    def weak_derivatives(self) -> WeakDerivatives | None:
        """Its weak derivatives; None where it has none."""
        return None

    @property
    def noisy_logits(self) -> NoisyLogits | None:
        """How noise added to `logits` makes a draw; None where draws are neither independent bits nor one-hot rows."""
        return None

    # --- draws and their log-probs

    @property
    def has_numeric_noise(self) -> bool:
        """Whether the noise is numbers, which can be reflected and stratified, and not one key per sample."""
        leaves = jax.tree.leaves(self.noise_spec, is_leaf=_noise.is_noise)
        return not any(isinstance(leaf, _noise.KeyPerRun) for leaf in leaves)

    def noise(self, key: Array) -> Any:
        """The parameter-free noise of one draw."""
        return _noise.one(self.noise_spec, key)

    def reflect(self, noise: Any) -> Any:
        """The antithetic noise, of the same law: −ε for normals, 1 − u (on the grid of draws) for uniforms.

        Raises:
          ValueError: the noise is one key per sample.
        """
        if not self.has_numeric_noise:
            raise ValueError(
                f"{type(self).__name__} draws from one key per sample, which has no antithetic key. Use IID()."
            )
        return jax.tree.map(
            lambda spec, value: spec.reflect(value), self.noise_spec, noise, is_leaf=_noise.is_noise
        )

    def transform(self, noise: Any) -> Any:
        """The draw that `noise` makes. Its derivative is the pathwise derivative, or raises where there is none."""
        if self.reparameterized:
            return value_of(rounded(self, widened(self)._transform(noise)))
        guarded = lambda tree: refuse(tree, unaccounted(self))
        return value_of(rounded(self, self._draw_with(guarded, noise)))

    def draw(self, noise: Any) -> Any:
        """The draw that `noise` makes, with the parameters held constant: what a score-function estimator draws.

        Returns:
          The draw; a `Draw`, its value and the coordinates in which it was made, where the family's draws may round onto
          an open edge of the support. `value_of` gives the value, and `log_prob` takes either.
        """
        return detached(rounded(self, self._draw_with(detached, noise)))

    @one_draw
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

    @method_in_words
    def log_prob(self, x: Any) -> Array:
        """log p(x) of ONE draw, shape (); −inf outside the support.

        Args:
          x: a value, or what `draw` returned: a `Draw` in it is evaluated from its coordinates.
        Raises:
          ValueError: `x` is not shaped like one draw.
        """
        self._check_draw("log_prob", x)
        return widened(self)._log_prob(widened(self._readable(x)))

    @method_in_words
    def log_prob_factors(self, x: Any) -> Array:
        """The independent terms of log p(x), one for each coordinate of the event (one-hot rows: for each row).

        Raises:
          ValueError: the family does not factorize, or `x` is not shaped like one draw.
        """
        factors = widened(self).independent_factors
        if factors is None:
            raise ValueError(
                f"{type(self).__name__} declares no independent factors. Use log_prob."
            )
        self._check_draw("log_prob_factors", x)
        return factors.log_probs(widened(self._readable(x)))

    def _readable(self, x: Any) -> Any:
        """`x`, or its value where its coordinates are not those of this family's own draws."""
        return x if same_charts(x, self.charts) else value_of(x)

    def _check_draw(self, method: str, x: Any) -> None:
        want = self.event_shape
        if isinstance(want, tuple) and (x is None or isinstance(x, str | list | dict)):
            advice = "Pass jnp.array(x)." if isinstance(x, list) else "Pass dist.sample(key), say."
            raise TypeError(
                f"{type(self).__name__}.{method}(x=…) needs one draw, an array of shape {want}; got {described(x)}. {advice}"
            )
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

    def nan_unless_legal(self, x: Any = None) -> Array | None:
        """0, or nan where traced parameters are illegal, to be added to the value; None where nothing is to be added.

        Args:
          x: the one draw, where there is one: it may tell with fewer operations.
        """
        return None

    def fixed_support(self) -> "Distribution":
        """The same distribution, refusing derivatives in the parameters that move its support.

        ∇E[f] = E[f ∇log p] holds only where the support stands still; the boundary's term is missing otherwise.
        """
        return self._with_support(refused)

    def held_support(self) -> "Distribution":
        """The same distribution, the parameters that move its support held constant: for scores in all other leaves."""
        return self._with_support(held)

    def _with_support(self, change: Callable[[str, Any], Any]) -> "Distribution":
        """The same distribution, `change(message, …)` applied to the parameters that move its support."""
        if not self.moving_support:
            return self
        message = moving_support_message(self)
        changed = {name: change(message, getattr(self, name)) for name in self.moving_support}
        return replace(self, **changed)

    # --- what its capabilities say

    @method_in_words
    def enumerate(self) -> Any:
        """Every point of the support, with a leading axis.

        Raises:
          ValueError: the support is not finite.
        """
        if self.enumeration is None:
            raise ValueError(
                f"{type(self).__name__} has no finite support to enumerate. Use ScoreFunction(), or a finite family."
            )
        return jax.tree.map(jnp.asarray, self.enumeration.points())

    @method_in_words
    def mean(self) -> Any:
        """E x, shaped like a draw."""
        return known(self, "mean", widened(self).closed_forms.mean)()

    @method_in_words
    def variance(self) -> Any:
        """The variance of every coordinate, shaped like a draw."""
        return known(self, "variance", widened(self).closed_forms.variance)()

    @method_in_words
    def entropy(self) -> Array:
        """−E log p(x), shape (), in nats."""
        return known(self, "entropy", widened(self).closed_forms.entropy)()

    @method_in_words
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
        form = known(self, "kl_divergence", widened(self).closed_forms.kl_divergence)
        return form(widened(other))

    @method_in_words
    def cdf(self, x: Any) -> Array:
        """P(X ≤ x) of every coordinate, shaped like a draw."""
        return known(self, "cdf", widened(self).quantiles.cdf)(widened(x))

    @method_in_words
    def inverse_cdf(self, u: Array) -> Array:
        """The smallest x with P(X ≤ x) ≥ u of every coordinate; its derivative is pathwise, or raises.

        Args:
          u: uniforms in (0, 1), shaped like a draw.
        """
        dist = self if self.reparameterized else refuse(self, unaccounted(self))
        return known(self, "inverse_cdf", widened(dist).quantiles.inverse)(u)


def rounded(dist: Distribution, draw: Any) -> Any:
    """`draw`, made in at least float32, with its values rounded to the parameters' dtype."""
    if widened(dist) is dist:
        return draw
    dtype = jnp.result_type(*jax.tree.leaves(dist))
    cast = lambda x: x.astype(dtype) if is_inexact(x) else x

    def of_one(x: Any) -> Any:
        if not is_draw(x):
            return cast(x)
        return Draw(jax.tree.map(cast, x.value), x.coordinates, x.chart)

    return jax.tree.map(of_one, draw, is_leaf=is_draw)
