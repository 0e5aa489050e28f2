"""Bijectors: smooth one-to-one maps with their log-determinants."""

from logtrick import _lazy

__getattr__, __dir__, __all__ = _lazy.names_of_stub(__name__)
