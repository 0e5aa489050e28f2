"""lt.explain: who is credited with what, and what looks wrong."""

import jax
import jax.numpy as jnp
import pytest

import logtrick as lt


def test_table_and_credit(capsys):
    def program(logits):
        a = yield lt.sample(lt.Bernoulli(logits[0]), name="a")
        yield lt.cost(a, name="early")
        b = yield lt.sample(lt.Bernoulli(logits[1] + a), lt.Enumerate(), name="b")

        def step(carry, _):
            z = yield lt.sample(lt.Normal(carry, 1.0), lt.Pathwise(), name="z")
            yield lt.cost(z**2, name="energy")
            return z, None

        last, _ = yield lt.scan(step, b, length=3, name="walk")
        c = yield lt.sample(lt.Bernoulli(0.0), lt.ScoreFunction(lt.NoBaseline()), name="c")
        yield lt.cost(last + c, name="late")

    found = lt.explain(program, jnp.zeros(2))
    rows = {row.name: row for row in found.sites}
    assert {name: set(row.costs) for name, row in rows.items()} == {
        "a": {"early", "late", "walk.energy"},
        "b": {"late", "walk.energy"},
        "walk.z": {"late", "walk.energy"},
        "c": {"late"},
    }
    assert [rows[n].baseline for n in ("a", "b", "walk.z", "c")] == ["LeaveOneOut", "-", "-", "NoBaseline"]
    assert rows["b"].evaluations == 2 and rows["b"].estimator == "Enumerate" and rows["walk.z"].distribution == "Normal"
    assert not any(row.biased for row in found.sites) and found.warnings == ()
    printed = capsys.readouterr().out
    assert printed.strip() == str(found) and "walk.z" in printed


def warnings(cost, estimator=None):
    def program():
        z = yield lt.sample(lt.Normal(0.0, 1.0), estimator or lt.Pathwise(), name="z")
        yield lt.cost(cost(z), name="cost")

    return lt.explain(program).warnings


JUMPS = {
    "where": lambda z: jnp.where(z > 0, 1.0, 0.0),
    "cast": lambda z: (z > 0).astype(float),
    "product": lambda z: z * (z > 0),
    "round": jnp.round,
    "floor": jnp.floor,
    "sign": jnp.sign,
    "argmax": lambda z: jnp.argmax(jnp.stack([z, 0.0])).astype(float),
    "int": lambda z: z.astype(int).astype(float),
    "cond": lambda z: jax.lax.cond(z > 0, lambda: 1.0, lambda: 0.0),
    "inside jit": jax.jit(lambda z: jnp.where(jnp.sin(z) > 0, 1.0, 0.0)),
    "inside scan": lambda z: jax.lax.scan(lambda c, _: (c + jnp.floor(z), None), 0.0, length=2)[0],
}
CONTINUOUS = {
    "square": jnp.square,
    "relu": jax.nn.relu,
    "abs": jnp.abs,
    "clip": lambda z: jnp.clip(z, -1, 1),
    "softplus": jax.nn.softplus,
    "logsumexp": lambda z: jax.nn.logsumexp(jnp.stack([z, 0.0])),
    "density": lambda z: lt.Normal(0.0, jnp.exp(z)).log_prob(1.0),
    "sort": lambda z: jnp.sort(jnp.stack([z, 0.0]))[0],
}


@pytest.mark.parametrize("name", JUMPS)
def test_discontinuities_are_seen(name):
    (found,) = warnings(JUMPS[name])
    assert "cost 'cost' depends on the draw of 'z' through a discontinuity" in found
    assert warnings(JUMPS[name], lt.ScoreFunction()) == ()


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_functions_are_not(name):
    assert warnings(CONTINUOUS[name]) == ()


def test_through_a_later_distribution():
    def program():
        z = yield lt.sample(lt.Normal(0.0, 1.0), lt.Pathwise(), name="z")
        b = yield lt.sample(lt.Bernoulli(jnp.where(z > 0, 1.0, -1.0)), lt.Enumerate())
        yield lt.cost(b)

    (found,) = lt.explain(program).warnings
    assert "cost 0 depends on the draw of 'z' through a discontinuity" in found


def test_what_adds_nothing():
    def program():
        x = yield lt.sample(lt.Bernoulli(0.0), name="used")
        yield lt.sample(lt.Bernoulli(0.0), name="idle")
        yield lt.cost(x)
        yield lt.cost(2.0, name="constant")

    found = lt.explain(program).warnings
    assert len(found) == 2
    assert "no cost depends on the draw of 'idle'" in found[0]
    assert "cost 'constant' depends on no draw" in found[1]
