"""The verdict on the convergence of a fit, on made-up histories."""

import numpy as np
import pytest

from logtrick._variable_selection.verdict import judge


def history(final_slope, noise, num_steps=2000, memory=0.0, seed=0):
    """A rise that levels off at 100, then gains `final_slope` nats a quarter, with (correlated) noise."""
    t = np.arange(num_steps)
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=num_steps) * noise * np.sqrt(1 - memory**2)
    for i in range(1, num_steps):
        steps[i] += memory * steps[i - 1]
    return 100 - 50 * np.exp(-t / 50) + final_slope * t / (num_steps / 4) + steps


@pytest.mark.parametrize(
    ("final_slope", "noise", "status"),
    [
        (0.0, 0.05, "converged"),
        (0.01, 0.01, "converged"),
        (0.1, 0.05, "max_steps"),
        (-0.1, 0.05, "max_steps"),
        (0.0, 3.0, "noise floor"),
        (5.0, 3.0, "max_steps"),
    ],
)
def test_verdicts(final_slope, noise, status):
    """With 95 % confidence on either side: one in ten may err, five in twenty would be one test in 20."""
    verdicts = [judge(history(final_slope, noise, seed=seed)) for seed in range(20)]
    assert sum(verdict.status == status for verdict in verdicts) >= 16


def test_noise_that_lasts_over_steps_widens_the_margin():
    """Independent noise of this size would be called converged: neighbors that agree carry less information."""
    found = [judge(history(0.0, 0.05, memory=0.98, seed=seed)).status for seed in range(40)]
    assert found.count("converged") < 12
    assert judge(history(0.0, 0.05)).status == "converged"


def test_words():
    verdict = judge(history(1.0, 0.01))
    assert verdict.words.startswith("not converged, more --steps would help (the last 500 steps")
    assert "gained +0.999 ± 0.06" in verdict.words
    assert judge(np.zeros(399)).reason == "fewer than 400 steps"


def test_the_verdict_of_a_stop_rule_stands():
    assert judge(history(1.0, 0.01), "converged").words.startswith("converged (the last 500 steps")
    assert judge(history(0.0, 0.01), "frozen").words.startswith("not converged, its updates have")
