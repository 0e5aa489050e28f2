"""Sampling plans: how the draws of the samples depend on each other."""

from logtrick import _lazy

__getattr__, __dir__, __all__ = _lazy.names_of_stub(__name__)
