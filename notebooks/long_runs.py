# %% [markdown]
# # Long runs: metrics, a stop rule, resume, averages, several devices
#
# `lt.minimize` and `lt.maximize` compile many steps into one call and look at numbers on the host in between. This page
# shows what they offer for a run of hours, on a problem that takes seconds: a policy sees 20 numbers $x$ about a message,
# says "keep" or "reject" at random with probability $\sigma(w \cdot x)$, and gets a reward of 1 when it is right. The expected
# reward has a closed form, so that every estimate has an exact number beside it.

# %%
import json
import os
import pathlib
import tempfile

import jax

if jax.config.jax_num_cpu_devices != 4:  # four devices out of one processor, for the last section
    jax.config.update("jax_num_cpu_devices", 4)

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import logtrick as lt

FAST = bool(os.environ.get("LOGTRICK_FAST"))  # the tests take fewer steps
rng = np.random.default_rng(0)
X = rng.normal(size=(2048, 20)).astype(np.float32)
RIGHT = (X @ rng.normal(size=20) + 2.0 * rng.normal(size=2048) > 0).astype(np.float32)


def reward(w, key, batch):
    """The expected reward of a batch, estimated by one action a message, less a small penalty."""
    x, right = batch
    baseline = lt.ScoreFunction(lt.ConstantBaseline(0.5))
    one = lambda key, x, right: lt.expect(
        key,
        lambda a: 1.0 - (a - right) ** 2,
        lt.Bernoulli(x @ w),
        estimator=baseline,
        num_samples=1,
    )
    rewards = jax.vmap(one)(jax.random.split(key, len(x)), x, right)
    return rewards.mean() - 0.01 * w @ w, {"size of w": jnp.sqrt(w @ w)}


@jax.jit
def exact(w):
    """The same expectation in closed form, over all messages."""
    p = jax.nn.sigmoid(X @ w)
    return jnp.mean(RIGHT * p + (1.0 - RIGHT) * (1.0 - p)) - 0.01 * w @ w


best = jnp.zeros(20)
for _ in range(200):
    best = best + 2.0 * jax.grad(exact)(best)
print(f"exact reward at the start {exact(jnp.zeros(20)):.4f}, at the best w {exact(best):.4f}")

# %% [markdown]
# ## Metrics and listeners
#
# Scalars that the objective returns beside its value become columns of `history.metrics`. A **listener** is what the host
# does between steps: `JSONLines` writes metrics to a file, `GradientNoise` measures the signal-to-noise ratio of the
# gradient now and then, and a listener of your own is a class with one method.


# %%
class ExactReward(lt.training.Listener):
    """Note the exact reward at every 50th step."""

    every = 50

    def start(self, run):
        self.steps, self.values = [], []

    def after_chunk(self, run):
        if run.step % self.every == 0:
            self.steps.append(run.step)
            self.values.append(float(exact(run.result().params)))


KEY, STEPS = jax.random.key(0), 400 if FAST else 1000
folder = pathlib.Path(tempfile.mkdtemp())
optimizer = optax.sgd(2.0)
how = {"data": (X, RIGHT), "batch_size": 64, "num_steps": STEPS}
own, noise = ExactReward(), lt.training.GradientNoise(every=100, num_replicates=16)
lines = lt.training.JSONLines(folder / "metrics.jsonl", every=200)
fit = lt.maximize(KEY, reward, jnp.zeros(20), optimizer, listeners=(own, noise, lines), **how)
print(fit)
for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()[:2]):
    print({name: round(line[name], 3) for name in ("step", "value", "gradient_norm", "size of w")})
series = fit.history.series["gradient_noise"]
print("signal-to-noise ratio of one gradient:", np.round(series["signal_to_noise"], 2))

# %% [markdown]
# ## Killed, and resumed with the same bits
#
# With `checkpoint=` the whole state is saved: parameters, optimizer, averages, position in the data, history. Here a
# listener raises an error in the middle, as a power cut would. The same call again goes on from the last checkpoint. Every
# random number of a step depends on the key and the step's number alone, so that the result has **the same bits** as the
# run above, which nothing interrupted.


# %%
class PowerCut(lt.training.Listener):
    def after_chunk(self, run):
        if run.step >= STEPS // 2:
            raise RuntimeError(f"power cut at step {run.step}")


saved = lt.training.Checkpoint(folder / "run", every=100)
try:
    lt.maximize(
        KEY, reward, jnp.zeros(20), optimizer, checkpoint=saved, listeners=(PowerCut(),), **how
    )
except RuntimeError as error:
    print(error, "-", "saved:", *sorted(p.name for p in (folder / "run").glob("*.npz")))

resumed = lt.maximize(KEY, reward, jnp.zeros(20), optimizer, checkpoint=saved, **how)
print("steps in the history:", len(resumed.history.value))
print("parameters have the same bits:", np.array_equal(resumed.params, fit.params))
print("all values have the same bits:", np.array_equal(resumed.history.value, fit.history.value))
assert np.array_equal(resumed.params, fit.params)
assert np.array_equal(resumed.history.value, fit.history.value)

# %% [markdown]
# ## Averages of the iterates
#
# At a constant learning rate the iterates keep jumping around the optimum, and the last one is as noisy as any. Their
# average is not. `lt.training.PolyakAverage(start)` averages from a step on; the fit's own steps do not change.

# %%
average = lt.training.PolyakAverage(start=STEPS // 2)
averaged = lt.maximize(KEY, reward, jnp.zeros(20), optimizer, average=average, **how)
assert np.array_equal(averaged.params, fit.params)
print(f"best possible       {exact(best):.4f}")
print(f"last iterate        {exact(averaged.params):.4f}")
print(f"average of the last {STEPS // 2} iterates {exact(averaged.averaged_params):.4f}")
assert exact(averaged.params) < exact(averaged.averaged_params) <= exact(best) + 1e-5

fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.8), layout="constrained")
left.plot(fit.history.value, color="C0", lw=0.4, alpha=0.5, label="estimate, 64 actions a step")
left.plot(own.steps, own.values, "o-", color="C1", ms=3, lw=1, label="exact, of the listener")
left.axhline(float(exact(best)), color="black", lw=1, label="best possible")
left.set(xlabel="step", ylabel="expected reward", title="What the optimizer saw, and what is true")
left.legend(frameon=False, loc="lower right")
right.plot(
    own.steps, float(exact(best)) - np.array(own.values), "o-", color="C1", ms=3, label="iterates"
)
gap = float(exact(best) - exact(averaged.averaged_params))
right.plot(
    [STEPS // 2, STEPS],
    [gap, gap],
    color="C0",
    lw=2,
    label=f"their average from step {STEPS // 2} on",
)
right.set(
    xlabel="step",
    ylabel="best possible − exact reward",
    yscale="log",
    ylim=(3e-5, 5e-2),
    title="Distance from the best",
)
_ = right.legend(frameon=False, loc="upper right")

# %% [markdown]
# ## A stop rule with words that differ
#
# `stop=lt.training.Converged()` ends a fit that stands still and says in which sense: `converged`; `noise floor`, where the
# objective stands still but the parameters drift on; or `frozen`, where the updates have become too small to matter though
# the gradient has not vanished. It judges slowly on purpose: a slope hidden in noise is not flat.

# %%
stop = lt.training.Converged(resolution=0.3, every=100)
long = {**how, "num_steps": 1500 if FAST else 20_000}
stopped = lt.maximize(KEY, reward, jnp.zeros(20), optimizer, stop=stop, **long)
print(f"{stopped.status} after {len(stopped.history.value)} of {long['num_steps']} steps")
print(stopped.reason)

# %% [markdown]
# ## Several devices
#
# With `mesh=` the rows of each batch are spread over the devices; nothing else in the program changes. The draws are the
# same on any layout, and the gradients are equal up to the rounding of a sum in another order. (The four devices here are
# threads of one processor. On real ones, and on many hosts by `jax.distributed`, the call is the same.)

# %%
mesh = jax.make_mesh((4,), ("rows",), devices=jax.devices()[:4])
short = {**how, "num_steps": 50}
on_four = lt.maximize(KEY, reward, jnp.zeros(20), optimizer, mesh=mesh, **short)
on_one = lt.maximize(KEY, reward, jnp.zeros(20), optimizer, **short)
difference = np.abs(np.asarray(on_four.history.value) - on_one.history.value)
print(f"{len(mesh.devices)} devices; largest difference of the 50 values {difference.max():.1e}")
print(f"parameters: {np.abs(np.asarray(on_four.params) - on_one.params).max():.1e}")
np.testing.assert_allclose(on_four.params, on_one.params, atol=1e-3)

# %% [markdown]
# ## Several seeds in one call
#
# A whole fit may stand under `jax.vmap`: five seeds, one compilation.

# %%
seeds = jax.random.split(jax.random.key(1), 5)
one_fit = lambda key: lt.maximize(key, reward, jnp.zeros(20), optimizer, **short).params
print(
    "exact reward after 50 steps, five seeds:",
    *(f"{exact(w):.3f}" for w in jax.vmap(one_fit)(seeds)),
)

# %% [markdown]
# **Where next:** `cartpole.ipynb` trains an adaptive baseline in the same loop. `progress=True` shows a bar; Ctrl-C ends a fit
# and returns what there is; a step that is not finite is skipped and counted (`fit.history.skipped`).
