"""logtrick: gradients of expectations in JAX by the log-derivative trick, ∇p = p ∇log p."""

from logtrick import _lazy

__getattr__, __dir__, __all__ = _lazy.names_of_stub(__name__)
