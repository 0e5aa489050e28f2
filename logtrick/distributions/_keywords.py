"""The error for an unknown keyword of a family, which names the right one."""

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any

from logtrick._core.calls import described

_KNOWN_AS = {
    "probs": ("prob", "p", "probability", "probabilities", "pvals", "success_prob"),
    "logits": ("logit", "log_odds", "log_probs", "log_weights", "scores", "weights"),
    "loc": ("mean", "mu", "location", "median", "x0"),
    "scale": ("std", "stddev", "sigma", "sd", "scale_diag", "b", "gamma"),
    "scale_tril": ("covariance", "covariance_matrix", "cov", "cholesky", "tril", "L"),
    "rate": ("lam", "lambda_", "intensity", "beta", "inverse_scale", "mu"),
    "concentration": ("alpha", "a", "shape", "concentration1"),
    "a": ("alpha", "concentration1", "concentration"),
    "b": ("beta", "concentration0"),
    "total_count": ("n", "trials", "num_trials", "r", "total"),
    "df": ("nu", "degrees_of_freedom", "dof"),
    "low": ("minval", "a", "min", "lower"),
    "high": ("maxval", "b", "max", "upper"),
    "components": ("distributions", "component_distribution", "components_distribution", "parts"),
    "parts": ("distributions", "components"),
    "base": ("distribution", "base_dist", "base_distribution"),
    "bijector": ("transform", "transforms", "bijection"),
    "length": ("k", "top_k", "num_places", "n"),
}


def naming_the_right_keyword(init: Callable[..., None]) -> Callable[..., None]:
    """`init`, whose error for a keyword that it does not have names the one that is meant."""
    parameters = list(inspect.signature(init).parameters.values())[1:]
    if any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters):
        return init
    accepted = [p.name for p in parameters]
    required = [p.name for p in parameters if p.default is p.empty]
    positional = sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
    own = inspect.unwrap(init)  # without the words that `Module` has for it

    @functools.wraps(own)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        for name in kwargs:
            if name not in accepted:
                raise TypeError(_message(type(self).__name__, name, accepted))
        absent = [name for name in required if name not in accepted[: len(args)] + list(kwargs)]
        if absent or len(args) > positional:
            family = type(self).__name__
            shown = ", ".join(_shown(accepted))
            if absent:
                raise TypeError(
                    f"{family}({shown}) needs {' and '.join(absent)}, too. Pass {absent[0]}=…."
                )
            most = f"{positional} positional argument{'' if positional == 1 else 's'}"
            raise TypeError(
                f"{family}({shown}) takes {most}; got {len(args)}. The shape of one draw is that of "
                "its parameters; batching is jax.vmap's."
            )
        own(self, *args, **kwargs)

    return checked


def _shown(accepted: list[str]) -> list[str]:
    """Without what families pass on to themselves."""
    return [each for each in accepted if each not in ("by_probs", "static_count")]


def _message(family: str, name: str, accepted: list[str]) -> str:
    shown = _shown(accepted)
    meant = [each for each in shown if name in _KNOWN_AS.get(each, ())]
    meant = meant or difflib.get_close_matches(name, shown, 1)
    advice = f"Pass {meant[0]}=…" if meant else "Pass these"
    return f"{family}({name}=…) is no parameter; it has {', '.join(shown)}. {advice}."


def one_draw(sample: Callable[..., Any]) -> Callable[..., Any]:
    """`sample`, whose error for a shape or a number of draws says how several draws are made."""

    @functools.wraps(sample)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs:
            return sample(self, *args)
        if not args and kwargs.keys() == {"key"}:
            return sample(self, **kwargs)
        if not any(base.__name__ == "Distribution" for base in type(self).__mro__):
            raise TypeError(
                "sample(key) is a method of a distribution; it was called on the class. Make one first, "
                "lt.Normal(0.0, 1.0).sample(key)."
            )
        got = [described(a) for a in args] + [f"{name}=…" for name in kwargs]
        family = type(self).__name__.lstrip("_")
        raise TypeError(
            f"{family}.sample(key) makes one draw from one key; got ({', '.join(got)}). For n draws write "
            "jax.vmap(dist.sample)(jax.random.split(key, n))."
        )

    return checked
