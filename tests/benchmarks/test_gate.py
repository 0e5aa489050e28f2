"""The regression gate: what it compares computes the same thing, and a slow case makes it fail."""

import numpy as np


def test_ours_and_by_hand_agree_on_what_they_estimate(script):
    """The fits end at the same ELBO, within the noise of one seed."""
    pairs = dict(script.cases())
    ours, hand = (
        pairs["minimize, logistic regression, pathwise"]()[name]() for name in ("ours", "hand")
    )
    ends = [
        script.workloads.elbo(params, script.workloads.synthetic()) for params, _ in (ours, hand)
    ]
    np.testing.assert_allclose(ends[0], ends[1], atol=1.0)
    starts = [float(np.mean(values[:20])) for _, values in (ours, hand)]
    np.testing.assert_allclose(starts[0], starts[1], rtol=0.1)


def test_a_slow_case_fails_after_three_tries(script, monkeypatch, capsys):
    tries = []

    def interleaved(pair, reference, rounds):
        tries.append(1)
        ratio = 2.0 if len(tries) <= script.TRIES else 1.0
        return {"ours": script.sys.modules["timing"].Timing(1.0, ratio, ratio, ratio)}

    monkeypatch.setattr(script, "interleaved", interleaved)
    monkeypatch.setattr(script, "cases", lambda: [("slow", dict), ("fast", dict)])
    assert script.main() == 1 and len(tries) == script.TRIES + 1
    out = capsys.readouterr().out
    assert "over 1.3" in out and "1 over the limit" in out
    tries.extend([1] * 3)
    assert script.main() == 0
