"""The README's first picture: `python notebooks/ten_coins.py` writes `ten_coins.png` beside this file."""

import pathlib

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import logtrick as lt


def loss(logits: jax.Array, key: jax.Array) -> tuple[jax.Array, object]:
    return lt.expect(
        key,
        lambda x: (x.sum() - 3.0) ** 2,
        lt.Bernoulli(logits),
        num_samples=1000,
        has_aux=True,
    )


def main() -> None:
    fit = lt.minimize(jax.random.key(0), loss, jnp.zeros(10), optax.adam(0.1), num_steps=500)
    fig, (left, right) = plt.subplots(
        1, 2, figsize=(9.6, 2.9), layout="constrained", width_ratios=(1.5, 1)
    )
    left.semilogy(fit.history.value, lw=0.9, color="C0", label="estimate, 1,000 draws a step")
    left.axhline(6.5, color="black", lw=0.8, ls=":")
    left.text(490, 6.9, "exact at the start: 6.5", ha="right", fontsize=9)
    left.set(xlabel="step", ylabel="E[(number of ones − 3)²]", ylim=(1e-2, 15))
    left.set_title("What lt.minimize saw")
    left.legend(frameon=False, loc="lower left")
    coins = range(10)
    right.bar(coins, jnp.full(10, 0.5), color="0.85", label="start")
    right.plot(coins, jax.nn.sigmoid(fit.params), "o", color="C0", label="after 500 steps")
    right.set(xlabel="coin", ylabel="probability of a one", ylim=(-0.05, 1.35), xticks=coins)
    right.set_title("The ten coins: three ones on average")
    right.legend(frameon=False, loc="upper right", ncols=2)
    fig.savefig(pathlib.Path(__file__).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
