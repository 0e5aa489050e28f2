"""Layer 0: the frozen pytree, the primitives, keys, checks, and what is known of meshes and of versions of JAX."""
