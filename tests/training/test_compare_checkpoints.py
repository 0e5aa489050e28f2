"""The last checkpoints of a fit on fresh draws: means, paired differences, and their errors."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import logtrick as lt

KEY = jax.random.key(5)
SGD = optax.sgd(0.25)
compare = lt.training.compare_checkpoints


def noisy(params, key):
    """E = θ² + 1; the noise is the same for all θ, so that paired differences are exact."""
    return params**2 + 1.0 + 3.0 * jax.random.normal(key)


def test_means_errors_and_paired_differences_are_those_of_the_draws():
    found = compare(KEY, noisy, {"a": 2.0, "b": 1.0}, num_replicates=400)
    assert found.names == ("a", "b")
    noise = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(base(), i)))(jnp.arange(400))
    noise = 3.0 * np.asarray(noise, np.float64)
    np.testing.assert_allclose(found.mean, [5.0 + noise.mean(), 2.0 + noise.mean()], rtol=1e-5)
    np.testing.assert_allclose(found.standard_error, noise.std(ddof=1) / 20, rtol=1e-5)
    np.testing.assert_allclose(found.difference, [3.0, 0.0], atol=1e-5)
    assert np.all(found.difference_error < 1e-6)  # of rounding alone
    assert "minus the newest" in repr(found) and "<table>" in found._repr_html_()


def base():
    from logtrick._core import keys

    return jax.random.fold_in(KEY, keys.REPLICATE)


def test_a_folder_of_checkpoints_is_compared_by_steps(tmp_path):
    keep = lt.training.Checkpoint(tmp_path, every=2, keep=2)
    fit = lt.minimize(KEY, noisy, 4.0, optax.sgd(0.25), num_steps=6, checkpoint=keep)
    found = compare(KEY, noisy, tmp_path, like=fit.params, num_replicates=4)
    assert found.names == (4, 6)
    np.testing.assert_allclose(found.difference, [0.25**2 - 0.0625**2, 0.0], atol=1e-5)


def test_the_newest_is_the_one_saved_last_not_that_of_the_largest_step(tmp_path):
    fit = lambda start, steps: lt.minimize(
        KEY, noisy, start, SGD, num_steps=steps, checkpoint=tmp_path, resume=False
    )
    for start, steps in ((2.0, 1), (4.0, 2), (8.0, 1)):
        fit(start, steps)
    found = compare(KEY, noisy, tmp_path, like=0.0, num_replicates=4)
    assert found.names == (2, 1)
    np.testing.assert_allclose(found.difference, [1.0 - 16.0, 0.0], atol=1e-5)


@pytest.mark.parametrize(
    ("checkpoints", "options", "error", "message"),
    [
        ("folder", {}, ValueError, r"like=….*needs the form of the parameters"),
        (3.0, {}, TypeError, "needs a folder, a dict or a list of parameters; got float 3.0"),
        ([], {}, ValueError, "at least one set of parameters"),
        ([1.0], {"num_replicates": 1}, ValueError, "num_replicates"),
    ],
)
def test_wrong_arguments_are_refused(checkpoints, options, error, message):
    with pytest.raises(error, match=message):
        compare(KEY, noisy, checkpoints, **{"num_replicates": 2, **options})
