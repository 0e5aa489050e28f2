"""Feeds: arrays by position within the compiled step, and batches that the host makes, read ahead by a thread."""

import gc
import threading
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from logtrick.training import ArrayFeed, HostFeed, Position, as_feed

KEY = jax.random.key(0)


# Arrays


def test_epochs_take_every_row_at_most_once_and_leave_out_others_each_time():
    feed = as_feed({"x": np.arange(10), "y": jnp.arange(20.0).reshape(10, 2)}, 4, KEY)
    assert isinstance(feed, ArrayFeed) and feed.in_jit
    assert (feed.num_rows, feed.batch_size, feed.batches_per_epoch) == (10, 4, 2)

    @jax.jit
    def run(feed, position):
        def step(position, _):
            return feed.advance(position), (position, feed.batch_in_jit(position))

        return jax.lax.scan(step, position, length=200)

    end, (positions, batches) = run(feed, feed.position)
    assert end.epoch == 100 and end.batch == 0 and end.epoch.dtype == end.batch.dtype == jnp.int32
    np.testing.assert_array_equal(positions.epoch, np.arange(200) // 2)
    np.testing.assert_array_equal(positions.batch, np.arange(200) % 2)
    np.testing.assert_array_equal(batches["y"][..., 0], 2.0 * batches["x"])
    epochs = np.asarray(batches["x"]).reshape(100, 8)
    assert all(len(set(epoch)) == 8 for epoch in epochs.tolist())
    left_out = np.array([sorted(set(range(10)) - set(epoch)) for epoch in epochs.tolist()])
    # A row is left out of an epoch with probability 1/5, so of 100 at least once, and never always.
    counts = np.bincount(left_out.ravel(), minlength=10)
    assert counts.min() >= 1 and counts.max() <= 60


def test_a_batch_depends_on_the_position_alone():
    feed, other = (
        as_feed(jnp.arange(1000), 32, KEY),
        as_feed(jnp.arange(1000), 32, jax.random.key(1)),
    )
    compiled = jax.jit(lambda feed, e, b: feed.rows(Position(e, b)))
    rows = lambda e, b: compiled(feed, e, b)
    np.testing.assert_array_equal(rows(5, 3), rows(5, 3))
    assert not np.array_equal(rows(5, 3), rows(6, 3))
    assert not np.array_equal(rows(5, 3), compiled(other, 5, 3))
    together = jax.jit(jax.vmap(lambda e: feed.rows(Position(e, 3))))(jnp.arange(7))
    np.testing.assert_array_equal(together[5], rows(5, 3))


def test_the_rows_have_a_key_that_no_step_has():
    feed = as_feed(jnp.arange(300), 300, KEY)
    data = lambda key: tuple(np.asarray(jax.random.key_data(key)).tolist())
    steps = {data(jax.random.fold_in(KEY, i)) for i in range(10)} | {data(KEY)}
    assert data(feed.key) not in steps


def test_without_a_batch_size_every_step_has_all_rows():
    data = {"x": np.arange(6.0)}
    feed = as_feed(data, None, KEY)
    np.testing.assert_array_equal(feed.batch_in_jit(feed.position)["x"], data["x"])
    np.testing.assert_array_equal(feed.rows(feed.position), np.arange(6))
    assert tuple(map(int, feed.advance(feed.position))) == (1, 0)
    whole = as_feed(data, 6, KEY)
    assert set(np.asarray(whole.batch_in_jit(whole.position)["x"])) == set(range(6))


@pytest.mark.parametrize(
    ("data", "batch_size", "options", "error", "message"),
    [
        (np.ones(5), 6, {}, ValueError, r"batch_size=…\) needs at most the 5 rows of data; got 6"),
        (np.ones(5), 0, {}, ValueError, r"batch_size=…\) needs an int of at least 1; got 0"),
        (np.ones(5), 2.0, {}, TypeError, r"batch_size=…\) needs a static positive int; got float"),
        (np.ones(0), 1, {}, ValueError, "needs from 1 to 2147483647 rows; got 0"),
        ({"a": np.ones(5), "b": np.ones(4)}, 2, {}, ValueError, r"in common; got .*\['b'\]\W+\(4,\)"),
        (jnp.ones(()), 1, {}, ValueError, "one leading axis of rows in common"),
        ({}, 1, {}, ValueError, "one leading axis of rows in common"),
        ([1.0, 2.0], 1, {}, TypeError, r"got float at data\[0\]"),
        (iter([np.ones(2)]), 2, {}, TypeError, "got the iterator list_iterator, which cannot be resumed"),
        ((x for x in [np.ones(2)]), 2, {}, TypeError, "got the iterator generator"),
        (range(3), 1, {}, TypeError, "got range at data. A loader becomes a function by"),
        (np.ones(5), 2, {"num_rows": 6}, ValueError, r"num_rows=…\) needs the 5 rows of data; got 6"),
        (lambda epoch: [], None, {}, ValueError, "needs the rows per batch where data is a function"),
        (lambda epoch: [], 4, {"num_rows": 3}, ValueError, "needs at most the 3 rows of data; got 4"),
        (lambda epoch: [], 4, {"prefetch": 0}, ValueError, r"prefetch=…\) needs an int of at least 1"),
    ],
)  # fmt: skip
def test_wrong_data_are_refused(data, batch_size, options, error, message):
    with pytest.raises(error, match="^lt.minimize.*" + message):
        as_feed(data, batch_size, KEY, where="lt.minimize", **options)


# Batches that the host makes


class Source:
    """Epochs of `length` batches of two rows, which count what was read; batch b of epoch e holds 100 e + b."""

    def __init__(self, length=3):
        self.length = length
        self.read = 0
        self.closed = 0

    def __call__(self, epoch):
        try:
            for batch in range(self.length):
                self.read += 1
                yield {"x": np.full((2, 3), 100.0 * epoch + batch), "n": np.full(2, batch)}
        finally:
            self.closed += 1


def numbers(batches):
    return np.asarray(batches["x"])[:, 0, 0].tolist()


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "logtrick data"]


def test_host_batches_in_order_across_epochs():
    with as_feed(Source(), 2, KEY, num_rows=6) as feed:
        assert isinstance(feed, HostFeed) and not feed.in_jit
        batches, position = feed.host_batches(feed.position, 2)
        assert numbers(batches) == [0, 1] and position == Position(0, 2)
        assert batches["x"].shape == (2, 2, 3) and batches["x"].dtype == jnp.float32
        assert batches["n"].dtype == jnp.int32 and isinstance(batches["n"], jax.Array)
        batches, position = feed.host_batches(position, 5)
        assert numbers(batches) == [2, 100, 101, 102, 200] and position == Position(2, 1)
        assert position.epoch.dtype == np.int32
    assert not threads()


@pytest.mark.parametrize("epoch", [0, 2])
@pytest.mark.parametrize("batch", [0, 1, 2, 3])
def test_resumed_at_any_position_the_rest_is_the_same(epoch, batch):
    """Position 3 of 3 is the end of an epoch, where a run may have stopped."""
    expected = [100 * e + b for e in range(5) for b in range(3)][3 * epoch + batch :][:4]
    with as_feed(Source(), 2, KEY, num_rows=6) as feed:
        batches, _ = feed.host_batches(Position(jnp.int32(epoch), jnp.int32(batch)), 4)
    assert numbers(batches) == expected


def test_another_position_starts_anew_and_the_next_one_goes_on():
    source = Source()
    with as_feed(source, 2, KEY, prefetch=1) as feed:
        _, position = feed.host_batches(feed.position, 2)
        assert numbers(feed.host_batches(feed.position, 1)[0]) == [0]
        assert numbers(feed.host_batches(position, 1)[0]) == [2]
        assert numbers(feed.host_batches(position, 1)[0]) == [2]


def test_shorter_chunks_are_filled_up_to_one_shape():
    mesh = jax.make_mesh((2,), ("data",))
    sharding = NamedSharding(mesh, PartitionSpec(None, "data"))
    with as_feed(Source(), 2, KEY) as feed:
        batches, position = feed.host_batches(feed.position, 2, pad_to=4, sharding=sharding)
        assert numbers(batches) == [0, 1, 1, 1] and position == Position(0, 2)
        assert batches["x"].sharding == sharding
        with pytest.raises(ValueError, match="pad_to needs at least n = 2; got 1"):
            feed.host_batches(position, 2, pad_to=1)
        with pytest.raises(ValueError, match=r"n=…\) needs an int of at least 1; got 0"):
            feed.host_batches(position, 0)


@pytest.mark.parametrize(("prefetch", "most"), [(None, 2), (1, 1), (7, 7)])
def test_the_thread_reads_ahead_and_no_further(prefetch, most):
    source = Source(length=1000)
    with as_feed(source, 2, KEY, prefetch=prefetch) as feed:
        feed.host_batches(feed.position, 2)
        channel = feed._reader._channel
        with channel.changed:
            assert channel.changed.wait_for(lambda: len(channel.items) == most, timeout=60)
            assert source.read == 2 + most
    assert source.closed == 1 and not threads()


def test_a_feed_that_nobody_holds_ends_its_thread():
    source = Source(length=1000)
    feed = as_feed(source, 2, KEY)
    feed.host_batches(feed.position, 1)
    (thread,) = threads()
    gone = weakref.ref(feed)
    del feed
    gc.collect()
    assert gone() is None
    thread.join(timeout=60)
    assert not thread.is_alive() and source.closed == 1


def test_exceptions_surface_after_the_batches_before_them():
    class Odd(Exception):
        pass

    def factory(epoch):
        yield np.zeros(2)
        yield np.ones(2)
        raise Odd("disk")

    with as_feed(factory, 2, KEY) as feed:
        _, position = feed.host_batches(feed.position, 2)
        with pytest.raises(Odd, match="disk"):
            feed.host_batches(position, 1)
        with pytest.raises(Odd, match="disk"):
            feed.host_batches(feed.position, 3)
        assert not threads()
        np.testing.assert_array_equal(feed.host_batches(feed.position, 2)[0], [[0, 0], [1, 1]])


ONCE = iter([np.ones(2)])


def stops(epoch):
    raise StopIteration


@pytest.mark.parametrize(
    ("factory", "num_rows", "error", "message"),
    [
        (lambda e: iter([np.ones(2), np.ones(3)]), None, ValueError,
         r"batch 1 of epoch 0 needs the form of the first batch, float64\[2\]; got float64\[3\]"),
        (lambda e: iter([np.ones(2, "f4"), np.ones(2)]), None, ValueError, r"float32\[2\]; got float64\[2\]"),
        (lambda e: iter([{"x": np.ones(2)}, np.ones(2)]), None, ValueError, r"\{x: float64\[2\]\}; got float"),
        (lambda e: [np.ones(3)], None, ValueError, r"needs arrays of batch_size = 2 rows; got float64\[3\]"),
        (lambda e: [()], None, ValueError, r"needs arrays of batch_size = 2 rows; got \(\)"),
        (lambda e: [np.ones(2)] * 3, 4, ValueError, "got 4, but epoch 0 has more than 2 batches of 2 rows"),
        (lambda e: [np.ones(2)] * 3, 8, ValueError, "got 8, but epoch 0 has only 3 batches of 2 rows"),
        (lambda e: [np.ones(2)] * (3 - e), 6, ValueError, "got 6, but epoch 1 has only 2 batches"),
        (lambda e: [], None, ValueError, "needs a new iterator for every epoch; got one without a batch"),
        (lambda e: ONCE, None, ValueError, "one without a batch for epoch 1"),
        (lambda e: 3, None, TypeError, "needs a function that returns an iterator of batches; got int"),
        (stops, None, RuntimeError, "raised StopIteration"),
    ],
)  # fmt: skip
def test_wrong_batches_of_a_function_are_refused(factory, num_rows, error, message):
    with (
        as_feed(factory, 2, KEY, num_rows=num_rows, where="lt.minimize") as feed,
        pytest.raises(error, match=message),
    ):
        feed.host_batches(feed.position, 6)


def test_rows_that_do_not_fill_a_batch_are_dropped_by_the_factory():
    with as_feed(Source(), 2, KEY, num_rows=7) as feed:
        assert numbers(feed.host_batches(feed.position, 4)[0]) == [0, 1, 2, 100]


def test_a_run_cannot_go_on_with_shorter_data():
    with (
        as_feed(Source(length=3), 2, KEY) as feed,
        pytest.raises(ValueError, match="epoch 1 has 3 batches, but the run had taken 5 of it"),
    ):
        feed.host_batches(Position(1, 5), 1)


@pytest.mark.parametrize("num_rows", [7, 300])
def test_a_batch_may_be_made_within_a_gradient(num_rows):
    """Reverse and forward mode: the order is integers, which carry no derivative; the rows do."""
    feed = as_feed(jnp.arange(float(num_rows)), 5, KEY)

    @jax.jit
    def loss(data, position):
        return jnp.sum(ArrayFeed(data, feed.key, num_rows, 5).batch_in_jit(position))

    position = Position(jnp.int32(1), jnp.int32(0))
    gradient = jax.grad(loss)(feed.data, position)
    np.testing.assert_array_equal(np.flatnonzero(gradient), np.sort(feed.rows(position)))
    np.testing.assert_array_equal(jax.jacfwd(loss)(feed.data, position), gradient)
