"""logtrick: gradients of expectations in JAX by the log-derivative trick, ∇p = p ∇log p."""

import sys

from logtrick import _lazy

__getattr__, __dir__, __all__ = _lazy.names_of_stub(__name__)

# What every expectation needs is imported now where JAX is there already: the first call is often traced, or timed. Where it
# is not, the package alone is imported, at no cost.
if "jax" in sys.modules:
    __getattr__("expect")
