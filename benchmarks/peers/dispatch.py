"""What the way a loop is dispatched costs: one scan, chunks with a host read between, single jitted steps, `lt.minimize`."""

from collections.abc import Callable
from typing import Any

import jax
import workloads

import logtrick as lt

DATA = workloads.breast_cancer()
START = workloads.start(DATA)


def contenders(steps: int) -> dict[str, Callable[[], Any]]:
    """By name, a whole fit by the score function."""
    key = jax.random.key(0)
    whole, chunk, single = (workloads.hand_fit(n, False) for n in (steps, 100, 1))
    objective = workloads.our_objective(False)
    quiet = lambda **more: (
        lt.minimize(
            key, objective, START, workloads.OPTIMIZER, num_steps=steps, data=DATA, **more
        ).params
    )

    def in_pieces(fit: Any, count: int) -> Any:
        params = START
        for i in range(count):
            params, values = fit(params, jax.random.fold_in(key, i), DATA)
            float(values[-1])
        return params

    return {
        "hand, one scan": lambda: whole(START, key, DATA),
        "hand, chunks of 100 and a host read": lambda: in_pieces(chunk, steps // 100),
        "hand, single jitted steps and a host read": lambda: in_pieces(single, steps),
        "lt.minimize": quiet,
        "lt.minimize with a callback": lambda: quiet(callback=lambda *_: None),
    }
