"""Random programs of sites, plates, loops, conditionals, keys and nested expectations, and their exact expectations.

A program is a list of statements, tuples whose first entry says what they are. `run` is the program for the library, `exact`
sums over all outcomes, one statement after another, and uses nothing of the library.
"""

import random
from collections.abc import Callable, Generator
from typing import Any

import jax
import jax.numpy as jnp

import logtrick as lt

Linear = tuple[list[tuple[str, float]], int, float]
ELEMENTS = (0.2, -0.4)
START = 0.1
ONE_POINT = (
    lt.ScoreFunction(),
    lt.ScoreFunction(lt.NoBaseline()),
    lt.ScoreFunction(lt.OptimalBaseline()),
    lt.ScoreFunction(lt.ConstantBaseline(0.7)),
)
SEVERAL_POINTS = (lt.Enumerate(), lt.UnorderedSet(2), lt.MeasureValued())
SEVERAL_POINTS_OF_BITS = (
    lt.DisARM(),
    lt.ARM(),
    lt.LocalExpectation(),
    lt.DoubleCV(),
    lt.ScoreFunction(lt.MuProp()),
)


class Author:
    """Writes statements by a seed.

    Args:
      seed: of Python's generator.
      sites: at most how many sites are drawn in all, elements and steps counted.
    """

    def __init__(self, seed: int, sites: int = 5) -> None:
        self.random, self.left, self.count = random.Random(seed), sites, 0

    def statements(self, scope: list[str], depth: int = 0, in_loop: bool = False) -> list[Any]:
        scope, count = list(scope), self.random.randint(2, 4)
        written = [self._statement(scope, depth, in_loop) for _ in range(count)]
        return [*written, ("cost", "plain", self._linear(scope), self._linear(scope))]

    def _statement(self, scope: list[str], depth: int, in_loop: bool) -> Any:
        kind = self.random.random()
        if kind < 0.45 and self.left >= 1:
            self.left -= 1
            return self._site(scope, in_loop)
        if kind < 0.72 and depth < 2 and self.left >= 2:
            return self._repeated("plate" if kind < 0.6 else "scan", scope, depth, in_loop)
        if kind < 0.8 and depth == 0 and self.left >= 1:
            self.left -= 1
            estimator = self.random.choice([lt.Enumerate(), lt.ScoreFunction()])
            return "nested", estimator, self._linear(scope), self._linear(scope)
        form = self.random.choice(["plain", "square", "product", "cond", "scan"])
        kind = "cost" if self.random.random() < 0.8 else "noisy"
        return kind, form, self._linear(scope), self._linear(scope)

    def _site(self, scope: list[str], in_loop: bool) -> Any:
        several = () if in_loop else SEVERAL_POINTS + SEVERAL_POINTS_OF_BITS
        estimator = self.random.choice(ONE_POINT + several)
        bits = _is_among(estimator, SEVERAL_POINTS_OF_BITS) or self.random.random() < 0.67
        return "site", self._named(scope), estimator, self._linear(scope[:-1]), bits

    def _repeated(self, kind: str, scope: list[str], depth: int, in_loop: bool) -> Any:
        available = self.left
        self.left = own = min(2, available // 2)  # in every element or step
        inner = [*scope, "element", *(["carry"] if kind == "scan" else [])]
        body = self.statements(inner, depth + 1, in_loop or kind == "scan")
        self.left = available - 2 * (own - self.left)
        # costs after a plate may not depend on sites of several points in its elements
        sites = [s for s in body if s[0] == "site"]
        if kind == "plate" and not all(_is_among(s[2], ONE_POINT) for s in sites):
            sites = []
        if kind == "plate" and not sites and self.random.random() < 0.3:
            # a cost after the plate would see the elements that are used, without their factor N/M
            return "some elements", self._named([]), body, "element"
        return kind, self._named(scope), body, sites[0][1] if sites else "element"

    def _named(self, scope: list[str]) -> str:
        self.count += 1
        scope.append(f"x{self.count}")
        return scope[-1]

    def _linear(self, scope: list[str]) -> Linear:
        chosen = self.random.sample(scope, min(len(scope), self.random.randint(0, 3)))
        weights = [(name, round(self.random.uniform(-1.5, 1.5), 2)) for name in chosen]
        return weights, self.random.randint(0, 3), round(self.random.uniform(-1, 1), 2)


def _is_among(estimator: Any, estimators: tuple[Any, ...]) -> bool:
    return any(estimator is other for other in estimators)


def linear(form: Linear, values: dict[str, Any], theta: jax.Array) -> Any:
    weights, i, constant = form
    return theta[i] + constant + sum(w * values[name] for name, w in weights)


def cost_of(form: str, x: Any, y: Any) -> Any:
    if form == "plain":
        return x
    if form == "square":
        return (x - 0.4) ** 2
    if form == "product":
        return x * jnp.sin(y)
    if form == "cond":
        return jax.lax.cond(x > 0.3, lambda: x * y, lambda: y)
    return jax.lax.scan(lambda c, z: (jnp.sin(c) + z * y, None), x, jnp.arange(2.0))[0]


def logits(x: Any) -> jax.Array:
    return jnp.stack([0.0 * x, x, -0.3 * x])


def run(
    statements: list[Any], values: dict[str, Any], theta: jax.Array, key: jax.Array
) -> Generator[Any, Any, dict[str, Any]]:
    """The program for `lt.expect_program`."""
    values = dict(values)
    for kind, *rest in statements:
        if kind == "site":
            name, estimator, form, bits = rest
            at = linear(form, values, theta)
            dist = lt.Bernoulli(at) if bits else lt.Categorical(logits(at))
            values[name] = 1.0 * (yield lt.sample(dist, estimator))
        elif kind in ("cost", "noisy"):
            form, a, b = rest
            noise = jax.random.normal((yield lt.fresh_key())) if kind == "noisy" else 0.0
            cost = cost_of(form, linear(a, values, theta), linear(b, values, theta))
            yield lt.cost(cost * (1.0 + noise))
        elif kind == "nested":
            estimator, a, b = rest
            dist, factor = lt.Bernoulli(linear(a, values, theta)), linear(b, values, theta)
            f = lambda bit, factor=factor: (bit - 0.3) ** 2 * factor
            yield lt.cost(lt.expect(key, f, dist, estimator=estimator, num_samples=2))
        else:
            name = rest[0]
            values[name] = yield from _repeat(kind, rest, values, theta, key)
    return values


def _repeat(
    kind: str, rest: list[Any], values: dict[str, Any], theta: jax.Array, key: jax.Array
) -> Generator[Any, Any, Any]:
    _, body, result = rest

    def element(x: Any) -> Generator[Any, Any, Any]:
        inner = yield from run(body, values | {"element": x}, theta, key)
        return inner[result] * theta[2]

    def step(carry: Any, x: Any) -> Generator[Any, Any, Any]:
        inner = yield from run(body, values | {"element": x, "carry": carry}, theta, key)
        return 0.5 * carry + inner[result], None

    if kind != "scan":
        used = 1 if kind == "some elements" else None
        return (yield lt.plate(element, jnp.array(ELEMENTS), subsample=used)).sum()
    return (yield lt.scan(step, jnp.array(START), jnp.array(ELEMENTS)))[0]


def exact(
    statements: list[Any], values: dict[str, Any], theta: jax.Array, then: Callable[[Any], Any]
) -> Any:
    """The expected costs of the statements, and of what `then` makes of the values after them."""
    if not statements:
        return then(values)
    (kind, *rest), later = statements[0], statements[1:]
    on = lambda values: exact(later, values, theta, then)
    if kind == "site":
        name, _, form, bits = rest
        at = linear(form, values, theta)
        p = jnp.stack([jax.nn.sigmoid(-at), jax.nn.sigmoid(at)]) if bits else None
        p = jax.nn.softmax(logits(at)) if p is None else p
        return sum(p[i] * on(values | {name: float(i)}) for i in range(p.shape[0]))
    if kind in ("cost", "noisy"):
        form, a, b = rest
        return cost_of(form, linear(a, values, theta), linear(b, values, theta)) + on(values)
    if kind == "nested":
        _, a, b = rest
        p = jax.nn.sigmoid(linear(a, values, theta))
        return (0.49 * p + 0.09 * (1 - p)) * linear(b, values, theta) + on(values)
    name, body, result = rest

    def turn(i: int, total: Any) -> Any:
        if i == len(ELEMENTS):
            return on(values | {name: total})
        inside = values | {"element": ELEMENTS[i]}
        if kind == "scan":
            inside["carry"] = total
            after = lambda inner: 0.5 * total + inner[result]
        else:
            after = lambda inner: total + inner[result] * theta[2]
        return exact(body, inside, theta, lambda inner: turn(i + 1, after(inner)))

    return turn(0, START if kind == "scan" else 0.0)
