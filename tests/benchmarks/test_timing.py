"""Interleaved timings: the ratio of what takes twice as long."""

import time


def test_a_function_twice_as_slow_has_ratio_two(script):
    def sleeper(seconds):
        return lambda: time.sleep(seconds) or 0.0

    found = script.interleaved({"a": sleeper(2e-2), "b": sleeper(1e-2)}, "b", rounds=5)
    assert found["b"].ratio == 1.0
    assert 1.5 < found["a"].ratio < 2.5 and found["a"].low <= found["a"].ratio <= found["a"].high
    assert found["a"].seconds > found["b"].seconds > 0.009
