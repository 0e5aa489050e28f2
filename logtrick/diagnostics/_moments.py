"""Moments of many gradients, block by block, in float64, with an interval for the variance that survives heavy tails."""

import numpy as np

_GROUPS = 8  # of replicates: the range of their variances is the interval


def heavy_share(count: int) -> float:
    """The share of one of `count` rows in the sum of squared deviations beyond which tails are heavy.

    1.5 / √n, about √(2 / n): then one row changes the variance by as much as that of n normal rows is uncertain.
    """
    return max(1.5 / count**0.5, 15 / count)


class Moments:
    """Mean and centered sum of squares of rows, block by block, in float64 (Chan, Golub & LeVeque 1983).

    Attributes:
      count: rows seen.
      mean: per coordinate.
      squares: sums of squared deviations from the mean, per coordinate.
      low: the smallest entry of each coordinate.
      high: the largest.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: np.ndarray = np.zeros(())
        self.squares: np.ndarray = np.zeros(())
        self.low: np.ndarray = np.array(np.inf)
        self.high: np.ndarray = np.array(-np.inf)

    def add(self, rows: np.ndarray) -> None:
        """Take in rows, shape (n, …)."""
        rows = np.asarray(rows, np.float64)
        if not len(rows):
            return
        with np.errstate(over="ignore", invalid="ignore"):  # inf and nan come out as such
            mean = rows.mean(0)
            squares = ((rows - mean) ** 2).sum(0)
            self._join(len(rows), mean, squares, rows.min(0), rows.max(0))

    def merge(self, other: "Moments") -> None:
        """Take in the rows that `other` has seen."""
        if other.count:
            with np.errstate(over="ignore", invalid="ignore"):
                self._join(other.count, other.mean, other.squares, other.low, other.high)

    def _join(
        self, count: int, mean: np.ndarray, squares: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> None:
        shift = mean - self.mean
        total = self.count + count
        self.squares = self.squares + squares + shift**2 * (self.count * count / total)
        self.mean = self.mean + shift * (count / total)
        self.low = np.minimum(self.low, low)
        self.high = np.maximum(self.high, high)
        self.count = total

    @property
    def variance(self) -> np.ndarray:
        """The variance of one row, squares / (count − 1)."""
        return np.asarray(self.squares / max(self.count - 1, 1))

    @property
    def peak(self) -> np.ndarray:
        """The largest |entry| of each coordinate; 0 where there are no rows."""
        if not self.count:
            return np.zeros(())
        return np.maximum(np.abs(self.low), np.abs(self.high))

    @property
    def largest_share(self) -> np.ndarray:
        """Of each coordinate, the share of one row in the sum of squared deviations; 0 where nothing varies."""
        with np.errstate(over="ignore", invalid="ignore"):
            largest = np.maximum(self.high - self.mean, self.mean - self.low) ** 2
            varies = self.squares > 0
            return np.divide(largest, self.squares, out=np.zeros_like(largest), where=varies)


class GradientMoments:
    """The moments of every leaf of a gradient over a known number of replicates.

    The replicates are also split into eight groups, in order (fewer where there are not two for each). The interval of a
    variance reaches from the smallest to the largest of the groups' variances (and to the variance of all, which few
    replicates may leave outside). Where a group's variance is as likely too small as too large, the interval of eight groups
    misses with probability 2⁻⁷. Under heavy tails a group's variance is too small more often than not, and no data tell by
    how much: then only the lower end holds. `largest_share` tells when.

    Measured over 1,000 repeats of 1,000 replicates, the share of intervals that cover the variance, and the share that cover
    it or are known to be heavy-tailed and have a lower end that holds: normal 99, 99 %; exponential 99, 99 %;
    log-normal(0, 1) 97, 99 %; Student's t with 3 degrees of freedom 94, 96 %; Pareto of index 2.5 (no fourth moment) 73,
    99.8 %, and of index 2.1 30, 100 %.
    """

    def __init__(self, num_leaves: int, num_replicates: int) -> None:
        groups = min(_GROUPS, num_replicates // 2)
        self.leaves = [Moments() for _ in range(num_leaves)]
        self.group_variances: list[list[float]] = []  # a list per group, a number per leaf
        self._bounds = [round(i * num_replicates / groups) for i in range(1, groups + 1)]
        self._group = [Moments() for _ in range(num_leaves)]
        self._count = 0
        self._largest = 0.0  # squared deviation of one replicate, all coordinates together

    def add(self, rows: list[np.ndarray]) -> None:
        """Take in the next replicates, an array of shape (n, …) per leaf."""
        rows = [np.asarray(r, np.float64) for r in rows]
        start, end = 0, len(rows[0])
        while start < end:
            stop = min(end, start + self._bounds[0] - self._count)
            for moments, leaf in zip(self._group, rows):
                moments.add(leaf[start:stop])
            self._count += stop - start
            start = stop
            if self._count == self._bounds[0]:
                self._close_group()
        self._note_largest(rows)

    def _close_group(self) -> None:
        self.group_variances.append([float(m.variance.sum()) for m in self._group])
        for whole, part in zip(self.leaves, self._group):
            whole.merge(part)
        self._group = [Moments() for _ in self.leaves]
        self._bounds.pop(0)

    def _note_largest(self, rows: list[np.ndarray]) -> None:
        """The largest squared deviation of one replicate, from the mean so far."""
        squared = np.zeros(len(rows[0]))
        for whole, part, leaf in zip(self.leaves, self._group, rows):
            so_far = Moments()
            so_far.merge(whole)
            so_far.merge(part)
            with np.errstate(over="ignore", invalid="ignore"):
                deviations = (leaf - so_far.mean).reshape(len(leaf), -1)
                squared = squared + (deviations**2).sum(1)
        self._largest = max(self._largest, float(np.max(squared)))

    def variance(self, leaf: int) -> float:
        """The variance of one gradient, summed over a leaf's coordinates."""
        return float(self.leaves[leaf].variance.sum())

    def interval(self, leaf: int) -> tuple[float, float]:
        """The interval of `variance(leaf)`."""
        return self._range(
            [variances[leaf] for variances in self.group_variances], self.variance(leaf)
        )

    def total_interval(self) -> tuple[float, float]:
        """The interval of the variance summed over all coordinates."""
        whole = sum(self.variance(leaf) for leaf in range(len(self.leaves)))
        return self._range([sum(variances) for variances in self.group_variances], whole)

    @staticmethod
    def _range(groups: list[float], whole: float) -> tuple[float, float]:
        return min(*groups, whole), max(*groups, whole)

    @property
    def largest_share(self) -> float:
        """The largest share of one replicate in the sum of squared deviations; 0 where nothing varies."""
        whole = float(sum(m.squares.sum() for m in self.leaves))
        return min(self._largest / whole, 1.0) if whole > 0 else 0.0
