"""Expectations of a function of one draw, of a program, and from draws made elsewhere.

Patterns that need no further function:

An expectation inside of f. Each outer sample has noise of its own inside, also under one key. Under a constant key it would
be the same noise for every outer key, in every step of a training loop: so the outer key is handed in.

  >>> import jax, jax.numpy as jnp, logtrick as lt
  >>> key = jax.random.key(0)
  >>> inner = lambda x: lt.expect(key, lambda y: y**2, lt.Normal(x, 1.0), num_samples=4)
  >>> value = lambda mu: lt.expect(key, inner, lt.Normal(mu, 1.0), num_samples=20_000)
  >>> round(value(1.0).item(), 1), round(jax.grad(value)(1.0).item(), 1)           # exact: μ² + 2 and 2 μ
  (3.0, 2.0)

A different distribution for each given draw: what it depends on is part of the draw.

  >>> family = lt.distribution(lambda w, x: lt.Bernoulli(w * x[0]).log_prob(x[1]), lambda key, w: None)
  >>> contexts, actions, rewards = jnp.arange(4.0), jnp.array([0.0, 1.0, 0.0, 1.0]), jnp.array([1.0, 3.0, 0.0, 2.0])
  >>> value = lambda w: lt.expect_given((contexts, actions, rewards), lambda x: x[2], family(w), baseline=lt.NoBaseline())
  >>> score = lambda w: jnp.mean(rewards * (actions - jax.nn.sigmoid(w * contexts)) * contexts)
  >>> round(jax.grad(value)(0.3).item(), 4) == round(score(0.3).item(), 4)
  True

Costs transformed by rank or by group, as evolution strategies and policy gradients do: they are given with the draws.

  >>> draws = jax.vmap(lt.Normal(0.0, 1.0).sample)(jax.random.split(key, 8))
  >>> ranks = jnp.argsort(jnp.argsort(draws**2)) / 7.0 - 0.5
  >>> shaped = lt.distribution(lambda mu, x: lt.Normal(mu, 1.0).log_prob(x[0]), lambda key, mu: None)
  >>> value = lambda mu: lt.expect_given((draws, ranks), lambda x: x[1], shaped(mu), baseline=lt.NoBaseline())
  >>> bool(jnp.allclose(jax.grad(value)(0.0), jnp.mean(ranks * draws)))
  True

The gradient of every sample, in place of their mean:

  >>> one = lambda mu, key: lt.expect(
  ...     key, lambda x: x**2, lt.Normal(mu, 1.0), estimator=lt.ScoreFunction(lt.NoBaseline()), num_samples=1)
  >>> jax.vmap(jax.grad(one), (None, 0))(1.0, jax.random.split(key, 5)).shape
  (5,)
"""

from logtrick import _lazy

__getattr__, __dir__, __all__ = _lazy.names_of_stub(__name__)
