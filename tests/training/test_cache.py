"""When a fit is compiled anew: for equal code and data never, for changed data always."""

import collections
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import logtrick as lt
from logtrick._core.fingerprint import fingerprint
from logtrick.training._program import PROGRAMS

KEY = jax.random.key(0)
SCALE = 1.0


def made(shift, rate=0.25):
    """An objective that is made anew at every call."""
    return lambda p, key: (p - shift) ** 2, optax.sgd(rate)


def fit(objective, optimizer):
    return lt.minimize(KEY, objective, 0.0, optimizer, num_steps=2).params.item()


def test_inline_objectives_and_optimizers_are_compiled_once(monkeypatch):
    # Empty: full of other tests' fits it would not grow.
    monkeypatch.setattr(PROGRAMS, "kept", collections.OrderedDict())
    assert fit(*made(3.0)) == 2.25
    before = len(PROGRAMS.kept)
    assert fit(*made(3.0)) == 2.25
    data = np.arange(3.0)
    for batch_size in (None, 2):
        for _ in range(2):
            lt.minimize(
                KEY,
                lambda p, key, x: p * jnp.sum(x),
                0.0,
                optax.sgd(0.1),
                num_steps=1,
                data=data,
                batch_size=batch_size,
            )
    assert len(PROGRAMS.kept) == before + 2
    assert fit(*made(4.0)) == 3.0 and fit(*made(3.0, rate=0.5)) == 3.0


def test_changed_data_behind_an_objective_are_seen():
    class Model:
        target = 1.0

        def loss(self, p, key):
            return (p - self.target) ** 2

    model, half = Model(), optax.sgd(0.5)
    assert fit(model.loss, half) == 1.0
    model.target = 5.0
    assert fit(model.loss, half) == 5.0
    Model.target = 7.0  # of the class, hidden by the object's own
    assert fit(model.loss, half) == 5.0

    array = np.ones(2)
    objective = lambda p, key: jnp.sum((p - array[0]) ** 2)
    assert fit(objective, half) == 1.0
    array[0] = 4.0
    assert fit(objective, half) == 4.0


def test_changed_globals_are_seen(monkeypatch):
    objective = lambda p, key: SCALE * (p - 3.0) ** 2
    assert fit(objective, optax.sgd(0.25)) == 2.25
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    assert fit(objective, optax.sgd(0.25)) == 3.0


def test_an_objective_that_changes_its_own_data_while_traced_is_compiled_once():
    traces = []

    def objective(p, key):
        traces.append(1)
        return p**2

    for _ in range(3):
        fit(objective, optax.sgd(0.25))
    assert len(traces) == 1


def _function(source):
    space = {"jnp": jnp}
    exec(source, space)
    return space["f"]


class Box:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)


SAME = {
    "code": lambda: _function("def f(x):\n  return jnp.sin(x) + 1"),
    "closure": lambda: made(1.0)[0],
    "optimizer": lambda: optax.chain(
        optax.clip(1.0), optax.adam(optax.cosine_decay_schedule(1.0, 9))
    ),
    "partial": lambda: functools.partial(made, 1.0, rate=np.float32(2.0)),
    "arrays": lambda: (np.arange(3), jnp.arange(3.0), {"a": [1, 2.0, "b", None, range(3)]}),
    "estimator": lambda: lt.ScoreFunction(lt.LeaveOneOut()),
    "nan": lambda: float("nan"),
    "set": lambda: {1, 2, 3},
    "key": lambda: jax.random.key(3),
}
DIFFERENT = {
    "code": (_function("def f(x):\n  return x + 1"), _function("def f(x):\n  return x + 2")),
    "default": (lambda x, i=1: x + i, lambda x, i=2: x + i),
    "sign of zero": (0.0, -0.0),
    "type": (1, 1.0),
    "bool": (1, True),
    "dtype": (np.zeros(2, np.float32), np.zeros(2, np.int32)),
    "array": (jnp.zeros(2), jnp.ones(2)),
    "weak": (jnp.zeros(()), jnp.asarray(0.0)),
    "objects": (Box(a=1), Box(a=1)),
    "dict order": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "key": (jax.random.key(3), jax.random.key(4)),
    "optimizer": (optax.adam(1e-3), optax.adam(1e-2)),
    "estimator": (lt.ScoreFunction(), lt.ScoreFunction(lt.LeaveOneOut())),
}


@pytest.mark.parametrize("name", SAME)
def test_equal_things_have_equal_fingerprints(name):
    one, other = fingerprint(SAME[name]()), fingerprint(SAME[name]())
    assert one == other and hash(one) == hash(other)


@pytest.mark.parametrize("name", [n for n in DIFFERENT if n not in ("weak", "estimator")])
def test_different_things_have_different_fingerprints(name):
    one, other = DIFFERENT[name]
    assert fingerprint(one) != fingerprint(other)


def test_cycles_and_depth_end():
    loop = []
    loop.append(loop)
    assert fingerprint(loop) == fingerprint(loop)

    def recursive(n):
        return recursive(n - 1) if n else 0

    assert fingerprint(recursive) == fingerprint(recursive)
    deep = []
    for _ in range(100):
        deep = [deep]
    assert fingerprint(deep) == fingerprint(deep)
    assert fingerprint(list(range(10**5))) is not None
    assert fingerprint(types.SimpleNamespace(a=1)) != fingerprint(types.SimpleNamespace(a=1))


def test_host_functions_are_called_anew_and_do_not_count():
    calls = []

    def simulator(x):
        calls.append(1)
        return np.float32(x) ** 2

    box = lt.black_box(simulator)
    assert fingerprint(box) == fingerprint(box)
    objective = lambda p, key: p**2 + box(jax.lax.stop_gradient(p))
    before = fingerprint(objective)
    fit(objective, optax.sgd(0.25))
    assert calls and fingerprint(objective) == before


def test_changed_data_behind_functions_in_the_parameters_are_seen():
    """A family's own functions, or a baseline's, stand in the structure of the parameters, which JAX compares by identity."""
    scale = {"by": 1.0}
    family = lt.distribution(
        lambda p, x: -0.5 * (x - p * scale["by"]) ** 2, lambda key, p: p + jax.random.normal(key)
    )
    params = family(jnp.array(1.0))
    objective = lambda dist, key: dist.log_prob(0.0)
    for by in (1.0, 5.0, 1.0):
        scale["by"] = by
        value = lt.minimize(KEY, objective, params, optax.sgd(0.1), num_steps=1).history.value
        np.testing.assert_allclose(value, [-0.5 * by**2])
        statistics = lt.gradient_statistics(KEY, objective, params, num_replicates=2)
        np.testing.assert_allclose(statistics.mean.params, -(by**2))
