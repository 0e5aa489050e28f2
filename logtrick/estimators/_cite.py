"""The references of what was used."""

import dataclasses
from typing import Any

from logtrick._core.calls import described, in_words
from logtrick._core.module import Module
from logtrick.estimators._base import Estimator


@in_words("lt.cite")
def cite(estimator: Estimator) -> str:
    """The references of an estimator and of its parts: its baseline, its plan, the estimators that it combines.

    Args:
      estimator: an estimator, with what it is made of.
    Returns:
      One reference a line, each once.
    Raises:
      TypeError: no estimator.
    Example:
      >>> import logtrick as lt
      >>> print(lt.cite(lt.ARM()))
      Yin & Zhou (2019), ARM: Augment-REINFORCE-Merge Gradient for Stochastic Binary Networks.
    """
    if not isinstance(estimator, Estimator):
        raise TypeError(
            f"lt.cite(estimator=…) needs an estimator; got {described(estimator)}. Pass lt.DisARM(), say."
        )
    return "\n".join(dict.fromkeys(_references(estimator)))


def _references(part: Any) -> list[str]:
    if isinstance(part, tuple | list):
        return [reference for item in part for reference in _references(item)]
    if not isinstance(part, Module):
        return []
    own = getattr(part, "reference", "")  # modules that are no part of an estimator declare none
    fields = [getattr(part, f.name) for f in dataclasses.fields(part)]  # type: ignore[arg-type]  # modules are dataclasses
    return ([own] if own else []) + _references(fields)
