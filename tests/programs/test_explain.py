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
    assert [rows[n].baseline for n in ("a", "b", "walk.z", "c")] == [
        "LeaveOneOut",
        "-",
        "-",
        "NoBaseline",
    ]
    assert (
        rows["b"].evaluations == 2
        and rows["b"].estimator == "Enumerate"
        and rows["walk.z"].distribution == "Normal"
    )
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
    "relu in half precision": lambda z: jax.nn.relu(z).astype(jnp.float16).astype(float),
    "density": lambda z: lt.Normal(0.0, jnp.exp(z)).log_prob(1.0),
    "sort": lambda z: jnp.sort(jnp.stack([z, 0.0]))[0],
}


@pytest.mark.parametrize("name", JUMPS)
def test_discontinuities_are_seen(name):
    (found,) = warnings(JUMPS[name])
    assert "cost 'cost' depends on the draw of 'z' through a discontinuity" in found
    assert warnings(JUMPS[name], lt.ScoreFunction()) == ()


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_functions_give_no_warning(name):
    assert warnings(CONTINUOUS[name]) == ()


def test_through_a_later_distribution():
    def program():
        z = yield lt.sample(lt.Normal(0.0, 1.0), lt.Pathwise(), name="z")
        b = yield lt.sample(lt.Bernoulli(jnp.where(z > 0, 1.0, -1.0)), lt.Enumerate())
        yield lt.cost(b)

    (found,) = lt.explain(program).warnings
    assert "cost 0 depends on the draw of 'z' through a discontinuity" in found


def test_not_through_a_later_sampler():
    """A family of two functions: its sampler compares with what depends on z, its score does not."""
    coin = lt.distribution(
        lambda logit, x: x * logit - jax.nn.softplus(logit),
        lambda key, logit: (jax.random.uniform(key) < jax.nn.sigmoid(logit)) * 1.0,
    )

    def program(jumps):
        z = yield lt.sample(lt.Normal(0.0, 1.0), lt.Pathwise(), name="z")
        b = yield lt.sample(coin(jnp.floor(z) if jumps else z))
        yield lt.cost(b * z)

    assert lt.explain(program, False).warnings == ()
    assert len(lt.explain(program, True).warnings) == 1


def test_keys_of_a_cost_are_no_sites():
    """A key draws too; the sites after it are those that are named, and a cost that is random by a key is not called idle."""

    def program():
        key = yield lt.fresh_key()
        z = yield lt.sample(lt.Normal(0.0, 1.0), lt.Pathwise(), name="z")
        yield lt.cost(jnp.floor(z))
        yield lt.cost(jax.random.normal(key))

    (found,) = lt.explain(program).warnings
    assert "cost 0 depends on the draw of 'z' through a discontinuity (floor)" in found


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


# --- inside the steps of a loop


def walk(step, after=None, estimator=None, xs=None, nested=False):
    """Warnings of a loop whose step is `z, carry -> (cost or None, carry)`, and of a cost of the last carry."""

    def body(carry, x):
        z = yield lt.sample(lt.Normal(0.5 * carry, 1.0), estimator or lt.Pathwise(), name="z")
        cost, carry = step(z, carry)
        if cost is not None:
            yield lt.cost(cost, name="cost")
        return carry, z

    def outer(carry, x):
        return (yield lt.scan(body, carry, length=2, name="inner"))

    def program():
        last, zs = yield lt.scan(outer if nested else body, 0.3, length=3, name="walk")
        if after is not None:
            yield lt.cost(after(last, zs), name="late")

    return lt.explain(program).warnings


FROM_STEPS = {
    "in the step": (lambda z, c: (jnp.where(z > 0, 1.0, 0.0), 0.9 * c), None, "cost", "gt"),
    "in a later step": (lambda z, c: (c**2, jnp.floor(z)), None, "cost", "floor"),
    "decided in one step, paid in a later one": (
        lambda z, c: (jnp.where(c > 0, 1.0, 0.0), z),
        None,
        "cost",
        "gt",
    ),
    "after the loop": (
        lambda z, c: (None, jnp.round(z)),
        lambda last, zs: last**2,
        "late",
        "round",
    ),
    "by the last carry": (lambda z, c: (None, z), lambda last, zs: jnp.sign(last), "late", "sign"),
    "by what is stacked": (
        lambda z, c: (None, c),
        lambda last, zs: jnp.argmax(zs.ravel()).astype(float),
        "late",
        "argmax",
    ),
    "by the next draw's distribution": (lambda z, c: (z**2, jnp.floor(z)), None, "cost", "floor"),
}


@pytest.mark.parametrize("where", FROM_STEPS)
def test_discontinuities_from_the_steps_of_a_loop(where):
    step, after, cost, name = FROM_STEPS[where]
    for nested, inner in ((False, ""), (True, "inner.")):
        (found,) = walk(step, after, nested=nested)
        named = f"walk.{inner}cost" if cost == "cost" else cost
        assert (
            f"cost '{named}' depends on the draw of 'walk.{inner}z' through a discontinuity ({name})"
            in found
        )
    assert walk(step, after, lt.ScoreFunction()) == ()


def test_smooth_loops_give_no_warning():
    assert (
        walk(
            lambda z, c: (jax.nn.relu(z) * c, jnp.tanh(z) + c),
            lambda last, zs: jnp.abs(last) + zs.sum(),
        )
        == ()
    )


def test_a_jump_concerns_only_the_costs_that_depend_on_it():
    """The step's cost jumps; what the loop hands on does not."""
    (found,) = walk(lambda z, c: (jnp.floor(z), z), lambda last, zs: last**2)
    assert "cost 'walk.cost'" in found

    def program():
        def step(carry, _):
            z = yield lt.sample(lt.Normal(carry, 1.0), lt.Pathwise(), name="z")
            b = yield lt.sample(
                lt.Bernoulli(z), name="b"
            )  # its sampler compares, its score does not
            yield lt.cost(b * z)
            return carry + b, None

        yield lt.scan(step, 0.0, length=3)

    assert lt.explain(program).warnings == ()


def test_a_draw_before_the_loop():
    def program():
        z = yield lt.sample(lt.Normal(0.0, 1.0), lt.Pathwise(), name="z")

        def step(carry, _):
            b = yield lt.sample(lt.Bernoulli(carry), name="b")
            yield lt.cost(b, name="cost")
            return jnp.where(z > 0, 1.0, carry), None

        yield lt.scan(step, 0.0, length=3, name="walk")

    (found,) = lt.explain(program).warnings
    assert "cost 'walk.cost' depends on the draw of 'z' through a discontinuity (gt)" in found


TARGET = jnp.linspace(0.1, 0.9, 8)
WEIGHTS = jnp.arange(8.0)


@pytest.mark.parametrize(
    ("cost", "found"),
    [
        (lambda x: jnp.sum((x - TARGET) ** 2), True),
        (lambda x: 3.0 + 2.0 * jnp.mean(jnp.abs(x - TARGET)), True),
        (lambda x: jnp.dot(jnp.where(x > TARGET, 1.0, x), WEIGHTS) / 8.0, True),
        (lambda x: jnp.sum(jax.nn.softplus(x)) - jnp.sum(x * TARGET), True),
        (lambda x: jnp.sum(x) ** 2, False),
        (lambda x: jnp.sum((x - x.mean()) ** 2), False),
        (lambda x: jnp.sum(x[1:] * x[:-1]), False),
        (lambda x: jnp.sum(jnp.cumsum(x)), False),
        (lambda x: jnp.max(x), False),
        (lambda x: 1.0 / (1.0 + jnp.sum(x)), False),
    ],
)
def test_a_sum_over_independent_factors_is_noticed(cost, found, capsys):
    def program(logits):
        x = yield lt.sample(lt.Bernoulli(logits), name="x")
        yield lt.cost(cost(x))

    warnings = lt.explain(program, jnp.zeros(8)).warnings
    assert any("8 independent factors" in w and "lt.plate" in w for w in warnings) == found


def test_no_warning_where_the_estimator_separates_the_factors(capsys):
    def program(dist, estimator):
        x = yield lt.sample(dist, estimator)
        yield lt.cost(jnp.sum(x**2))

    for dist, estimator in (
        (lt.Normal(jnp.zeros(8), 1.0), lt.Pathwise()),
        (lt.Bernoulli(jnp.zeros(8)), lt.LocalExpectation()),
        (lt.MultivariateNormal(jnp.zeros(8), jnp.eye(8)), lt.ScoreFunction()),
    ):
        assert lt.explain(program, dist, estimator).warnings == ()


def test_separate_expectations_have_the_variance_that_the_warning_promises(x64):
    """Eight factors with a term each: the plate's gradient has less than a fourth of the variance."""

    def whole(logits, key):
        f = lambda x: jnp.sum((x - TARGET) ** 2)
        return lt.expect(key, f, lt.Bernoulli(logits), num_samples=4)

    def apart(logits, key):
        one = lambda k, l, t: lt.expect(k, lambda x: (x - t) ** 2, lt.Bernoulli(l), num_samples=4)
        return jnp.sum(jax.vmap(one)(jax.random.split(key, 8), logits, TARGET))

    variance = lambda objective: (
        lt.gradient_statistics(
            jax.random.key(0), objective, jnp.zeros(8), num_replicates=500
        ).total_variance
    )
    assert variance(apart) < variance(whole) / 4


def test_what_it_prints_in_a_prompt_and_in_a_notebook(capsys):
    def program():
        x = yield lt.sample(lt.Normal(0.0, 1.0), name="z<")
        yield lt.cost(x)

    found = lt.explain(program)
    assert repr(found) == "Explanation of 1 site, 0 warnings: print it for the table"
    assert "z&lt;" in found._repr_html_()
    assert repr(lt.black_box(abs)) == "lt.black_box(abs)"
