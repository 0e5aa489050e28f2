"""A host function as a cost: one call a batch, checked, its exceptions shown, never differentiated."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import logtrick as lt
from logtrick import vi

KEY = jax.random.key(0)
COIN = lt.Bernoulli(jnp.zeros(3))


@pytest.fixture(autouse=True)
def _no_failed_effects_are_left():
    """A computation with effects that succeeds takes the place of one that failed, whose error JAX would raise elsewhere."""
    yield
    jax.block_until_ready(jax.jit(lambda x: (jax.debug.callback(lambda x: None, x), x)[1])(0.0))


def counted(batched, calls):
    def f(x):
        calls.append(x.shape)
        return np.sum(np.sqrt(x) + x, axis=-1)

    return lt.black_box(f, batched=batched)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize(
    "estimator", [lt.ScoreFunction(), lt.Enumerate()], ids=["score", "enumerate"]
)
def test_the_same_as_a_jax_function(batched, estimator):
    calls = []
    f, plain = counted(batched, calls), lambda x: jnp.sum(jnp.sqrt(x) + x)
    value = lambda f: (
        lambda l: lt.expect(KEY, f, lt.Bernoulli(l), estimator=estimator, num_samples=6)
    )
    logits = jnp.array([0.1, -0.2, 0.5])
    for d in (lambda f: f, jax.grad, jax.hessian):
        np.testing.assert_allclose(
            jax.jit(d(value(f)))(logits), d(value(plain))(logits), rtol=1e-5, atol=1e-6
        )


def test_one_host_call_a_batch():
    calls = []
    f = counted(True, calls)
    jax.block_until_ready(
        jax.jit(lambda l: lt.expect(KEY, f, lt.Bernoulli(l), num_samples=16))(jnp.zeros(3))
    )
    assert calls == [(16, 3)]
    calls.clear()
    both = jax.jit(jax.vmap(lambda k: lt.expect(k, f, COIN, num_samples=4)))(
        jax.random.split(KEY, 5)
    )
    assert both.shape == (5,) and calls == [(20, 3)]
    calls.clear()
    assert f(jnp.ones(3)) == 6.0 and calls == [(1, 3)]


def test_points_that_a_map_does_not_touch():
    f = lt.black_box(lambda x, y: x[..., 0] * y, batched=True)
    found = jax.vmap(jax.vmap(f, (None, 0)), (0, None))(jnp.ones((2, 1)), jnp.arange(3.0))
    np.testing.assert_array_equal(found, np.tile(np.arange(3.0), (2, 1)))


def test_differentiating_raises_at_trace_time():
    f = lt.black_box(lambda x: np.float32(x) ** 2)
    pathwise = lambda mu: lt.expect(KEY, f, lt.Normal(mu, 1.0), estimator=lt.Pathwise())
    with pytest.raises(
        TypeError, match=r"lt.black_box\(<lambda>\) was differentiated.*ScoreFunction\(\) say"
    ):
        jax.jit(jax.grad(pathwise)).trace(0.3)
    with pytest.raises(TypeError, match="was differentiated"):
        jax.grad(lambda t: lt.expect(KEY, lambda x: f(x * t), COIN_1))(0.3)
    assert jnp.isfinite(pathwise(0.3))


COIN_1 = lt.Bernoulli(0.3)


def test_fault_48_the_host_raises():
    def simulator(x):
        raise KeyError("no such state")

    f = lt.black_box(simulator)
    for run in (
        lambda: f(1.0),
        lambda: lt.expect(KEY, f, COIN_1),
        lambda: jax.grad(lambda l: lt.expect(KEY, f, lt.Bernoulli(l)))(0.1),
    ):
        with pytest.raises(
            lt.BlackBoxError, match=r"lt.black_box\(simulator\): the host function raised KeyError"
        ) as caught:
            run()
        assert isinstance(caught.value.__cause__, KeyError)
        assert any(entry.name == "simulator" for entry in _traceback(caught.value.__cause__))


@pytest.mark.parametrize("batched", [True, False])
def test_the_host_raises_inside_a_users_jit(batched):
    """JAX lets a text through, which names the line in the host function; the exception itself is `last_error`.

    The type of JAX's depends on whether the compiled code ran before (JAX's issue 34083).
    """
    broken = [False]

    def table(x):
        try:
            return {False: np.zeros(x.shape)}[broken[0]]
        except KeyError as error:
            raise ArithmeticError("no such state") from error

    def simulator(x):
        return table(x)

    f = lt.black_box(simulator, batched=batched)
    step = jax.jit(lambda l: lt.expect(KEY, f, lt.Bernoulli(l)))
    jax.block_until_ready(step(0.1))
    assert f.last_error is None
    broken[0] = True
    afresh = jax.jit(lambda l: step(l) + 1)
    for run, errors in (
        (step, (jax.errors.JaxRuntimeError, ValueError)),
        (afresh, jax.errors.JaxRuntimeError),
    ):
        f.last_error = None
        with pytest.raises(
            errors, match=r"(?s)in simulator.*in table.*ArithmeticError: no such state"
        ):
            jax.block_until_ready(run(0.1))
        assert isinstance(f.last_error, lt.BlackBoxError)
        raised = f.last_error.__cause__
        assert isinstance(raised, ArithmeticError) and isinstance(raised.__cause__, KeyError)
        assert {"simulator", "table"} <= {entry.name for entry in _traceback(raised)}


@pytest.mark.parametrize("batched", [True, False])
def test_the_host_raises_inside_minimize(batched):
    """As itself, whether the loop was compiled before or not; and an error of an earlier fit is forgotten."""
    broken = [True]

    def simulator(x):
        if broken[0]:
            raise ArithmeticError("no such state")
        return np.zeros(x.shape)

    def breaks(result):
        broken[0] = True

    def refuses(result):
        raise ValueError("of the callback")

    f = lt.black_box(simulator, batched=batched)
    objective = lambda l, key: (
        lt.expect(key, f, lt.Bernoulli(l), num_samples=2) + 0 * f(jax.lax.stop_gradient(l))
    )
    fit = lambda **options: lt.minimize(
        KEY, objective, 0.3, optax.sgd(0.1), num_steps=4, chunk=2, **options
    )
    for first in (True, False):
        broken[0] = first
        with pytest.raises(
            lt.BlackBoxError, match=r"lt.black_box\(simulator\): the host function raised Arith"
        ) as caught:
            fit(callback=breaks)
        assert isinstance(caught.value.__cause__, ArithmeticError)
        assert any(entry.name == "simulator" for entry in _traceback(caught.value.__cause__))
    broken[0] = False
    assert fit().status == "max_steps" and f.last_error is None
    with pytest.raises(ValueError, match="of the callback"):
        fit(callback=refuses)


def test_an_old_error_is_not_taken_for_a_new_one():
    """Another failure in an expectation that calls a black box which had failed before stays what it is."""
    calls = []

    def once(x):
        calls.append(1)
        if len(calls) == 1:
            raise KeyError("once")
        return 1.0

    f, other = (
        lt.black_box(once),
        jax.jit(lambda x: jax.pure_callback(_other, jax.ShapeDtypeStruct((), jnp.float32), x)),
    )
    with pytest.raises(jax.errors.JaxRuntimeError, match="once"):
        jax.block_until_ready(jax.jit(f)(1.0))
    assert f.last_error is not None
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        lt.expect(KEY, lambda x: f(x) + other(jnp.float32(1.0)), COIN_1)


def _other(x):
    raise ValueError("something else")


def _traceback(error):
    import traceback

    return traceback.extract_tb(error.__traceback__)


@pytest.mark.parametrize(
    "f, how, match",
    [
        (
            lambda x: np.ones(2),
            {},
            r"returned shape \(2,\); result_shape=\(\) with batched=False needs \(\)",
        ),
        (
            lambda x: np.ones(()),
            {"batched": True},
            r"returned shape \(\).*batched=True needs \(\d+,\)",
        ),
        (lambda x: 1j, {}, "returned complex128; needs real numbers"),
        (lambda x: "a", {}, "needs real numbers"),
        (lambda x: 1.0, {"dtype": np.float32}, r"returned float64; needs float32. Pass dtype=…"),
        (lambda x: 1e300, {}, r"returned 1e\+300, too large for float32"),
        (
            lambda x: np.int64(2**40),
            {"dtype": np.int64},
            "returned 1099511627776, too large for int32",
        ),
    ],
)
def test_fault_49_shapes_and_dtypes(f, how, match):
    box = lt.black_box(f, **how)
    with pytest.raises(lt.BlackBoxError, match=match):
        lt.expect(KEY, box, COIN_1)


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_a_declared_dtype_of_64_bits_is_that_of_the_host(dtype):
    """Under jit as without: JAX rounds it to 32 bits, unless double precision is switched on."""
    f = lt.black_box(lambda x: dtype(3 * x), dtype=dtype)
    for run in (f, jax.jit(f), lambda x: jax.vmap(f)(x[None])[0]):
        assert run(jnp.float32(2.0)) == 6 and run(jnp.float32(2.0)).dtype.itemsize == 4


def test_fault_51_fresh_calls_under_jit():
    count = []

    def impure(x):
        count.append(1)
        return np.full(x.shape, float(len(count)))

    f = jax.jit(lambda l: lt.expect(KEY, lt.black_box(impure, batched=True), lt.Bernoulli(l)))
    assert [f(0.1).item(), f(0.1).item()] == [1.0, 2.0]


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match=r"lt.black_box\(f=…\) needs a function; got float"):
        lt.black_box(1.0)
    with pytest.raises(TypeError, match=r"lt.black_box\(result_shape=…\) needs a tuple of ints"):
        lt.black_box(len, result_shape=(2.0,))
    vector = lt.black_box(lambda x: np.array([x, 2 * x]), result_shape=(2,))
    np.testing.assert_array_equal(jax.vmap(vector)(jnp.arange(2.0)), [[0, 0], [1, 2]])


def test_everywhere_the_hosts_own_exception_also_from_code_compiled_before():
    """JAX's internal error came from `vi`, from `lt.testing`, and from compiled code that is called again."""

    def simulator(x):
        raise KeyError("no such state")

    box, q = lt.black_box(simulator), vi.MeanFieldNormal(like=jnp.zeros(2))
    density = lambda z: box(z)
    sgd = {"estimator": lt.ScoreFunction(), "optimizer": optax.sgd(0.1), "max_steps": 2}
    calls = [
        lambda: vi.fit(KEY, density, q, **sgd),
        lambda: vi.diagnose(KEY, density, q),
        lambda: vi.importance_sample(KEY, density, q),
        lambda: lt.testing.exact_expectation(box, lt.Bernoulli(0.3)),
    ]
    for call in [*calls, *calls]:
        with pytest.raises(lt.BlackBoxError, match="the host function raised KeyError"):
            call()
