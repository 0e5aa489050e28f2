"""The loop itself: direction, keys, chunks, compilations, data, what it refuses."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import logtrick as lt
from logtrick.training._program import Programs
from logtrick.training._step import Task

KEY = jax.random.key(7)
ADAM = optax.adam(0.1)
SGD = optax.sgd(0.25)


def bowl(params, key):
    return (params - 3.0) ** 2


def noisy(params, key):
    """A smooth objective whose noise depends on the key: Σ (w − 1 + ε)²."""
    noise = jax.random.normal(key, (2,))
    return jnp.sum((params["w"] - 1.0 + 0.1 * noise) ** 2) + params["b"] ** 2


START = {"w": jnp.zeros(2), "b": 2.0}


def leaves_equal(a, b):
    left, right = jax.tree.leaves(a), jax.tree.leaves(b)
    return len(left) == len(right) and all(np.array_equal(x, y) for x, y in zip(left, right))


def test_minimize_descends_and_maximize_ascends_as_sgd_says():
    down = lt.minimize(KEY, bowl, 0.0, SGD, num_steps=3)
    assert down.history.value.tolist() == [9.0, 2.25, 0.5625]
    assert down.history.gradient_norm.tolist() == [6.0, 3.0, 1.5]
    assert down.params.item() == 3.0 - 3.0 / 8
    up = lt.maximize(KEY, lambda p, key: -bowl(p, key), 0.0, SGD, num_steps=3)
    assert up.history.value.tolist() == [-9.0, -2.25, -0.5625]  # the objective, not its negative
    assert up.params.item() == down.params.item()
    assert down.status == up.status == "max_steps" and int(down.state.step) == 3


def test_the_first_step_is_the_hand_written_one_with_the_documented_key():
    fit = lt.minimize(KEY, noisy, START, ADAM, num_steps=2)
    params, state = jax.tree.map(jnp.asarray, START), ADAM.init(START)
    for step in range(2):
        key = jax.random.fold_in(jax.random.fold_in(KEY, step), 1)
        value, grads = jax.value_and_grad(noisy)(params, key)
        assert np.isclose(fit.history.value[step], value, rtol=1e-6)
        updates, state = ADAM.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    for ours, theirs in zip(jax.tree.leaves(fit.params), jax.tree.leaves(params)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_the_bits_do_not_depend_on_the_chunk():
    def logits(params, key):
        f = lambda x: jnp.sum((x - 0.45) ** 2)
        return lt.expect(key, f, lt.Bernoulli(params), num_samples=8)

    fits = [
        lt.minimize(KEY, logits, jnp.zeros(3), ADAM, num_steps=23, chunk=c) for c in (1, 7, 23, 100)
    ]
    for fit in fits[1:]:
        assert leaves_equal(fit.state, fits[0].state) and leaves_equal(fit.history, fits[0].history)
    other = lt.minimize(jax.random.key(8), logits, jnp.zeros(3), ADAM, num_steps=23)
    assert not leaves_equal(other.params, fits[0].params)


def compilations(caplog):
    return [
        r.getMessage()
        for r in caplog.records
        if r.getMessage().startswith("Finished XLA compilation")
    ]


def test_at_most_two_compilations_and_none_for_the_second_call(caplog):
    traces = []

    def objective(params, key):
        traces.append(1)
        return noisy(params, key)

    # A Python scalar is weakly typed: no second compilation for it.
    start = {"w": np.zeros(2, np.float32), "b": 2.0}
    run = functools.partial(
        lt.minimize, objective=objective, params=start, optimizer=ADAM, chunk=10
    )
    with jax.log_compiles(), caplog.at_level("WARNING", "jax"):
        first = run(KEY, num_steps=25)
        assert len(compilations(caplog)) <= 2, compilations(caplog)
        assert len(traces) == 1
        caplog.clear()
        second = run(jax.random.key(1), num_steps=40)
        assert not compilations(caplog) and len(traces) == 1
        run(KEY, num_steps=5, params=first.params)
        assert not compilations(caplog) and len(traces) == 1
    assert first.history.value.shape == (25,) and second.history.value.shape == (40,)


def test_the_cache_of_compiled_fits_is_bounded():
    programs = Programs()
    for i in range(40):
        programs.find(Task("x", lambda p, k, i=i: p, ADAM))
    assert len(programs.kept) == 32


def test_the_user_keeps_the_initial_parameters():
    start = jnp.ones(3)
    lt.minimize(KEY, lambda p, key: jnp.sum(p**2), start, SGD, num_steps=2)
    lt.minimize(KEY, lambda p, key: jnp.sum(p**2), start, SGD, num_steps=2)
    assert start.tolist() == [1.0, 1.0, 1.0]


def test_the_state_is_one_pytree_of_arrays():
    fit = lt.minimize(KEY, noisy, START, ADAM, num_steps=3)
    assert all(isinstance(x, jax.Array) and not x.weak_type for x in jax.tree.leaves(fit.state))
    assert not any(
        jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) for x in jax.tree.leaves(fit.state)
    )
    assert leaves_equal(fit.state.key_data, jax.random.key_data(KEY))


def test_batches_are_epochs_without_replacement():
    data = {"x": jnp.arange(10.0), "y": jnp.arange(20.0).reshape(10, 2)}

    def objective(params, key, batch):
        assert batch["x"].shape == (4,) and batch["y"].shape == (4, 2)
        bits = jnp.sum(2.0 ** batch["x"])  # which rows, as the bits of a number
        return params * 0.0 + bits, {"same": jnp.all(batch["y"][:, 0] == 2 * batch["x"])}

    fit = lt.minimize(KEY, objective, 1.0, SGD, num_steps=8, data=data, batch_size=4)
    rows = fit.history.value.astype(int)
    assert all(int(r).bit_count() == 4 for r in rows) and fit.history.metrics["same"].all()
    for first, second in zip(rows[::2], rows[1::2]):  # two batches an epoch, two rows left out
        assert first & second == 0
    assert len({int(a | b) for a, b in zip(rows[::2], rows[1::2])}) > 1  # not the same two rows
    assert [int(x) for x in fit.state.position] == [4, 0]
    whole = lt.minimize(
        KEY, lambda p, key, d: p * jnp.sum(d["x"]), 1.0, SGD, num_steps=1, data=data
    )
    assert whole.history.value.tolist() == [45.0] and whole.state.position is None


def test_batches_that_the_host_makes_are_those_of_the_epochs():
    asked = []

    def epochs(epoch):
        asked.append(epoch)
        for start in (0, 3, 6):
            yield np.arange(start, start + 3, dtype=np.float32) + 100 * epoch

    objective = lambda p, key, batch: p * 0.0 + jnp.sum(batch)
    fit = functools.partial(
        lt.minimize, KEY, objective, 1.0, SGD, num_steps=7, data=epochs, batch_size=3
    )
    want = [3.0, 12.0, 21.0, 303.0, 312.0, 321.0, 603.0]
    for chunk in (100, 2):
        assert fit(chunk=chunk).history.value.tolist() == want
    assert set(asked) >= {0, 1, 2}
    with pytest.raises(TypeError, match="which cannot be resumed"):
        fit(data=iter([np.ones(3)]))


def test_a_whole_fit_under_vmap_is_the_loop_over_fits():
    keys = jax.random.split(KEY, 3)
    fit = lambda key: lt.minimize(key, noisy, START, ADAM, num_steps=12)
    many = jax.vmap(fit)(keys)
    assert many.status == "traced" and many.history.value.shape == (3, 12)
    for i in range(3):
        one = fit(keys[i])
        np.testing.assert_allclose(many.params["w"][i], one.params["w"], rtol=1e-5)
        np.testing.assert_allclose(many.history.value[i], one.history.value, rtol=1e-5)
    starts = jax.vmap(
        lambda b: lt.minimize(KEY, noisy, {"w": jnp.zeros(2), "b": b}, ADAM, num_steps=2).params[
            "b"
        ]
    )
    assert starts(jnp.array([1.0, 2.0])).shape == (2,)
    with pytest.raises(ValueError, match="no host between chunks"):
        jax.vmap(lambda k: lt.minimize(k, noisy, START, ADAM, num_steps=2, progress=True).params)(
            keys
        )


def final(rate, target):
    """A fit whose optimizer and objective refer to numbers of the caller."""
    objective = lambda p, key: (p - target) ** 2
    return lt.minimize(KEY, objective, 1.0, optax.sgd(rate), num_steps=3).params


def test_a_fit_may_refer_to_values_of_a_trace():
    """Of vmap, grad and jit: a learning rate in the optimizer, a number behind the objective. θ₃ = t + (1 − 2r)³ (1 − t)."""
    rates, targets = jnp.array([0.25, 0.125]), jnp.array([3.0, 5.0])
    want = targets + (1 - 2 * rates) ** 3 * (1 - targets)
    np.testing.assert_allclose(jax.vmap(final)(rates, targets), want, rtol=1e-6)
    slopes = jax.jit(jax.grad(final, (0, 1)))(0.25, 3.0)
    np.testing.assert_allclose(slopes, [3.0, 1 - 0.5**3], rtol=1e-6)
    with jax.checking_leaks():
        jax.vmap(final)(rates, targets)


def test_a_fit_works_without_jit():
    with jax.disable_jit():
        assert lt.minimize(KEY, bowl, 0.0, SGD, num_steps=2).history.value.tolist() == [9.0, 2.25]


def test_x64_keeps_the_dtypes():
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        start = {"w": jnp.zeros(2, jnp.float32), "b": jnp.ones((), jnp.float64)}
        fit = lt.minimize(jax.random.key(0), noisy, start, ADAM, num_steps=3)
        assert fit.params["w"].dtype == jnp.float32 and fit.params["b"].dtype == jnp.float64
        assert fit.state.opt_state[0].mu["w"].dtype == jnp.float32


def test_other_keys_optimizers_and_objectives_work():
    rbg = lt.minimize(jax.random.key(0, impl="rbg"), noisy, START, ADAM, num_steps=2)
    assert rbg.state.key_data.shape == (4,)
    raw = lt.minimize(jax.random.key_data(KEY), noisy, START, ADAM, num_steps=2)
    assert leaves_equal(raw.params, lt.minimize(KEY, noisy, START, ADAM, num_steps=2).params)
    chained = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(0.1), optax.contrib.reduce_on_plateau(patience=1)
    )
    assert lt.minimize(KEY, jax.jit(noisy), START, chained, num_steps=5).status == "max_steps"
    schedule = optax.sgd(optax.cosine_decay_schedule(0.25, 10))
    assert lt.minimize(KEY, bowl, 0.0, schedule, num_steps=2).params.item() != 0
    assert lt.minimize(
        KEY, bowl, 0.0, optax.polyak_sgd(), num_steps=30
    ).params.item() == pytest.approx(3.0, abs=1e-2)
    unhashable = type(
        "Bowl", (), {"__call__": lambda self, p, key: bowl(p, key), "__eq__": lambda a, b: a is b}
    )()
    assert lt.minimize(KEY, unhashable, 0.0, SGD, num_steps=1).params.item() == 1.5
    noise = optax.add_noise(0.1, 0.5, jax.random.key(0))
    assert lt.minimize(KEY, bowl, 0.0, optax.chain(noise, SGD), num_steps=3).status == "max_steps"


def test_fault_54_line_searches_are_refused():
    for optimizer in (
        optax.lbfgs(),
        optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(5)),
    ):
        with pytest.raises(ValueError, match="line search, which compares values"):
            lt.minimize(KEY, bowl, 0.0, optimizer, num_steps=1)
    fit = lt.minimize(KEY, bowl, 0.0, optax.lbfgs(0.1, linesearch=None), num_steps=30)
    assert fit.params.item() == pytest.approx(3.0, abs=0.2)


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"n": 3}, TypeError, r"params\['n'\] is int32, which has no gradient"),  # fault 35
        ({"on": True}, TypeError, r"params\['on'\] is bool"),  # fault 36
        ({"name": "a"}, TypeError, r"params\['name'\] is a str"),
        ({"z": 1j}, TypeError, "complex parameters are not supported"),  # fault 37
        ({}, ValueError, "no trainable parameters"),  # fault 39
    ],
)
def test_parameters_without_gradient_are_refused(params, error, match):
    with pytest.raises(error, match=match):
        lt.minimize(KEY, lambda p, key: 0.0, params, SGD, num_steps=1)


def test_none_leaves_are_allowed():
    assert (
        lt.minimize(
            KEY, lambda p, key: p["a"] ** 2, {"a": 1.0, "b": None}, SGD, num_steps=1
        ).params["b"]
        is None
    )


@pytest.mark.parametrize(
    ("value", "error", "match"),
    [
        (lambda p: p + 1j, TypeError, "must be real"),  # fault 38
        (lambda p: jnp.stack([p, p]), ValueError, r"got shape \(2,\)"),
        (lambda p: None, ValueError, "got None"),
    ],
)
def test_objectives_that_are_no_scalar_are_refused(value, error, match):
    with pytest.raises(error, match=match):
        lt.minimize(KEY, lambda p, key: value(p), 1.0, SGD, num_steps=1)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"num_steps": 0}, ValueError, "at least 1; got 0"),
        ({"num_steps": 2.0}, TypeError, "static positive int; got float"),
        ({"num_steps": 2**31}, ValueError, "needs at most 2147483647 steps; got 2147483648"),
        ({"data": np.zeros((0, 3))}, ValueError, r"needs data; got shape \(0, 3\) at data"),
        ({"data": {}}, ValueError, "needs arrays; got none in {}"),
        ({"chunk": 0}, ValueError, "chunk=…"),
        ({"batch_size": 2}, ValueError, "needs data to draw from"),
        ({"objective": lambda p: p}, TypeError, r"called with \(params, key\); got a function of"),
        ({"data": jnp.ones(3)}, TypeError, "third argument is the batch"),
        ({"params": KEY, "key": 0.0}, TypeError, "Keys come first"),
        ({"freeze_guard": 0.5}, ValueError, "above 1"),
        ({"average": 0.9}, TypeError, "PolyakAverage"),
        ({"listeners": lt.training.ProgressBar()}, TypeError, "needs a tuple of listeners"),
        ({"listeners": (print,)}, TypeError, "Subclass lt.training.Listener"),
        (
            {"listeners": (lt.training.JSONLines("x", every=-3),)},
            ValueError,
            r"JSONLines\(every=…\) needs an int of at least 1; got -3",
        ),
        ({"stop": True}, TypeError, "stop="),
        ({"checkpoint": 3}, TypeError, "needs a folder"),
        ({"mesh": 4}, TypeError, "jax.sharding.Mesh"),
        ({"progress": 1}, TypeError, "progress=.*got int 1"),
        ({"batch_size": 4, "data": jnp.ones(3)}, ValueError, "at most the 3 rows"),
        (
            {"batch_size": 2, "data": (jnp.ones(3), jnp.ones(4))},
            ValueError,
            "one leading axis of rows",
        ),
        ({"batch_size": 2, "data": 1.0}, TypeError, "needs a pytree of arrays"),
        (
            {"batch_size": 2, "data": lt.training.as_feed(jnp.ones(6), 3, KEY)},
            ValueError,
            "is 2, but data is a feed of batches of 3 rows",
        ),
        ({"nonfinite": "mask"}, ValueError, '"skip", "raise" or a positive int'),
        ({"nonfinite": 0}, ValueError, "nonfinite=…"),
        (
            {"optimizer": optax.adam},
            TypeError,
            "needs an optax gradient transformation; got the function adam. Call it",
        ),
        ({"objective": 3}, TypeError, "needs a function"),
        ({"key": 0}, TypeError, "PRNG key"),
        ({"key": jax.random.split(KEY)}, ValueError, "vmap over the keys"),
    ],
)
def test_wrong_arguments_are_refused(change, error, match):
    arguments = {
        "key": KEY,
        "objective": bowl,
        "params": 0.0,
        "optimizer": SGD,
        "num_steps": 1,
    } | change
    with pytest.raises(error, match=match):
        lt.minimize(arguments.pop("key"), **arguments)


def test_an_optimizer_that_changes_shapes_is_refused():
    broken = optax.GradientTransformation(
        lambda p: (), lambda g, s, p: (jax.tree.map(lambda x: x[None], g), s)
    )
    with pytest.raises(ValueError, match=r"shape \(3,\) into one of shape \(1, 3\)"):
        lt.minimize(KEY, lambda p, key: jnp.sum(p), jnp.ones(3), broken, num_steps=1)


def test_history_is_json_ready():
    history = lt.minimize(KEY, bowl, 0.0, SGD, num_steps=2).history
    assert json.loads(json.dumps(history.value.tolist())) == [9.0, 2.25]
