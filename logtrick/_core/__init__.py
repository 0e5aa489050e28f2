"""Layer 0: the frozen pytree, the kernel primitives, keys, noise, checks."""
