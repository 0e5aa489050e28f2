"""logtrick: gradients of expectations in JAX by the log-derivative trick, ∇p = p ∇log p."""

import sys

from logtrick import _lazy

__getattr__, __dir__, __all__ = _lazy.names_of_stub(__name__)

# What every expectation needs is imported now where JAX is there already: the first call is often traced, or timed. A command
# that prints its help does without.
if "jax" in sys.modules:
    __getattr__("expect")
