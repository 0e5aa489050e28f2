"""Draws and closings of the package's own classes are traced once; what a user writes may read anything, and runs anew."""

import jax
import jax.numpy as jnp
import pytest

import logtrick as lt

KEY = jax.random.key(0)
SCALE = {0: 1.0}  # what the classes below read, without having it as a field


class Scaled(lt.Estimator):
    max_order = 1

    def draw(self, noise, dist):
        return lt.Points(dist.draw(noise), dist)

    def close(self, costs, points, runs):
        return costs.first_order(SCALE[0], points.dist.loc)


class ScaledBaseline(lt.Baseline):
    def term(self, site):
        return SCALE[0] * (1 - site.box)


class ScaledPlan(lt.Plan):
    block = 1

    def check(self, dist):
        pass

    def noise(self, dist):
        return dist.noise_spec

    def draw(self, dist, noise):
        return dist.draw(SCALE[0] * noise)

    def rows(self, spec, key, start, count, total):
        return lt.noise.rows(spec, key, start, count, total)


class ScaledNoise(lt.noise.Noise):
    def rows(self, key, start, count, total):
        return SCALE[0] * jnp.arange(1.0, count + 1)

    def one(self, key):
        return jnp.asarray(SCALE[0])

    def example(self):
        return jnp.asarray(0.5)


class ScaledNormal(lt.Distribution):
    loc: jax.Array
    event_shape = ()
    support = lt.supports.Real()
    noise_spec = ScaledNoise()

    def _transform(self, noise):
        return self.loc + noise

    def _log_prob(self, x):
        return -0.5 * SCALE[0] * (x - self.loc) ** 2


@pytest.mark.parametrize(
    "family, estimator",
    [
        (lambda loc: lt.Normal(loc, 1.0), Scaled()),
        (lambda loc: lt.Normal(loc, 1.0), lt.ScoreFunction(ScaledBaseline())),
        (lambda loc: lt.Normal(loc, 1.0), lt.ScoreFunction(lt.NoBaseline(), ScaledPlan())),
        (lambda loc: lt.Normal(loc, 1.0), lt.Combination((Scaled(), lt.Pathwise()), (0.5, 0.5))),
        (ScaledNormal, lt.ScoreFunction(lt.NoBaseline())),
    ],
    ids=["estimator", "baseline", "plan", "part of a combination", "distribution and noise"],
)
def test_what_a_users_class_reads_elsewhere_is_read_at_every_call(family, estimator, monkeypatch):
    value = lambda loc: lt.expect(
        KEY, lambda x: x**2, family(loc), estimator=estimator, num_samples=4
    )
    gradients = []
    for scale in (1.0, 3.0, 1.0):
        monkeypatch.setitem(SCALE, 0, scale)
        gradients.append(jax.grad(value)(0.3).item())
    assert gradients[0] == gradients[2] != gradients[1]


def test_a_learned_baseline_reads_its_closure_at_every_call():
    def gradient(offset):
        baseline = lt.LearnedBaseline(lambda w: w + offset, jnp.array(0.5))
        value = lambda loc: lt.expect(
            KEY,
            lambda x: x,
            lt.Normal(loc, 1.0),
            estimator=lt.ScoreFunction(baseline),
            num_samples=4,
            has_aux=True,
        )[0]
        return jax.grad(value)(0.3).item()

    assert gradient(jnp.array(0.0)) != gradient(jnp.array(2.0))
