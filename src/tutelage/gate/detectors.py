"""Detectors of single faults: small boosted trees over the features, readable as JSON.

One detector tells one fault from clean rows. A gate of several detectors is needed because faults
lie in opposite directions: scrambled text is surprising, an echo is not. The trees are of depth 2
and few, so that what they look at can be listed, and a fitted detector is plain numbers: applying
one needs no other library and loads no pickle.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError

Numbers = NDArray[np.float64]

TREES = 60
DEPTH_LEAVES = 4
LEARNING_RATE = 0.25
BINS = 24
_PENALTY = 1.0
_MIN_WEIGHT = 2.0
"""Least sum of hessians in a leaf: no leaf rests on a handful of rows."""
_MOST_LOG_ODDS = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A question to one feature: at most the threshold, or missing, goes left.

    Attributes:
        feature: Index of the feature.
        threshold: Compared with it.
        missing_left: Whether a missing feature goes left.
    """

    feature: int
    threshold: float
    missing_left: bool

    def goes_left(self, X_N_F: Numbers) -> NDArray[np.bool_]:
        """Which rows go left."""
        values_N = X_N_F[:, self.feature]
        left: NDArray[np.bool_] = np.where(
            np.isnan(values_N), self.missing_left, values_N <= self.threshold
        )
        return left


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A tree of depth 2: a first question, one for each side, and four values.

    Attributes:
        first: The first question, or None for a tree that is one value.
        left: Asked of what went left, or None.
        right: Asked of what went right, or None.
        values: Log-odds of left-left, left-right, right-left and right-right.
    """

    first: Split | None
    left: Split | None
    right: Split | None
    values: tuple[float, float, float, float]

    def log_odds(self, X_N_F: Numbers) -> Numbers:
        """What this tree adds to each row."""
        if self.first is None:
            return np.full(len(X_N_F), self.values[0])
        left_N = self.first.goes_left(X_N_F)
        in_left_N = left_N if self.left is None else self.left.goes_left(X_N_F)
        in_right_N = ~left_N if self.right is None else self.right.goes_left(X_N_F)
        leaf_N = np.where(left_N, np.where(in_left_N, 0, 1), np.where(in_right_N, 2, 3))
        found: Numbers = np.array(self.values)[leaf_N]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """Tells rows with one fault from clean ones.

    Attributes:
        fault: The name of the fault.
        start: Log-odds before the first tree.
        trees: Added up.
    """

    fault: str
    start: float
    trees: tuple[Tree, ...]

    def log_odds(self, X_N_F: Numbers) -> Numbers:
        """For each row how much speaks for the fault; above 0 more than against it."""
        total_N = np.full(len(X_N_F), self.start)
        for tree in self.trees:
            total_N = total_N + tree.log_odds(X_N_F)
        return total_N

    def evidence(self, x_F: Numbers, *, names: Sequence[str]) -> dict[str, float]:
        """How much each feature moved the log-odds of one row towards the fault.

        A tree's value goes in equal parts to the features that it asked on the way of this row.

        Args:
            x_F: The features of the row.
            names: Their names.

        Returns:
            Log-odds by feature, the largest first; features without a part are left out.
        """
        parts: dict[str, float] = {}
        for tree in self.trees:
            value = float(tree.log_odds(x_F[None, :])[0])
            asked = _asked(tree, x_F)
            for feature in asked:
                name = names[feature]
                parts[name] = parts.get(name, 0.0) + value / len(asked)
        return dict(sorted(parts.items(), key=lambda item: (-item[1], item[0])))

    def as_json(self, *, names: Sequence[str]) -> dict[str, Any]:
        """The detector as JSON, with features by name."""
        return {
            "fault": self.fault,
            "start": self.start,
            "trees": [
                {
                    "first": _split_json(tree.first, names),
                    "left": _split_json(tree.left, names),
                    "right": _split_json(tree.right, names),
                    "values": list(tree.values),
                }
                for tree in self.trees
            ],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], *, names: Sequence[str]) -> Self:
        """The inverse of `as_json`.

        Raises:
            DataError: It is not a detector, or asks a feature that this version does not have.
        """
        try:
            trees = tuple(
                Tree(
                    first=_split_from(tree["first"], names),
                    left=_split_from(tree["left"], names),
                    right=_split_from(tree["right"], names),
                    values=_four(tree["values"]),
                )
                for tree in stored["trees"]
            )
            return cls(fault=str(stored["fault"]), start=float(stored["start"]), trees=trees)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"not a detector of this version: {type(error).__name__}: {error}",
                hint="fit the quality gate again: delete quality_gate.json and run once more",
            ) from error


def fit_detector(
    *,
    fault: str,
    X_N_F: Numbers,
    faulty_N: NDArray[np.bool_],
    weight_N: Numbers | None = None,
    bins: "Bins | None" = None,
    trees: int = TREES,
) -> Detector:
    """Fit a detector by gradient boosting of the log loss.

    Clean and faulty rows weigh the same in total. Splits are tried at quantiles; missing features
    go to the side where they lower the loss more.

    Args:
        fault: The name of the fault.
        X_N_F: Features, NaN where missing.
        faulty_N: Which rows have the fault.
        weight_N: Further weights of rows, such as less for a mild dose.
        bins: The bins of these rows, where they are known.
        trees: How many.

    Raises:
        DataError: There are no clean or no faulty rows.
    """
    if faulty_N.all() or not faulty_N.any():
        raise DataError(f"fault {fault}: a detector needs faulty and clean rows")
    weights_N = np.ones(len(faulty_N)) if weight_N is None else weight_N.astype(np.float64)
    for side_N in (faulty_N, ~faulty_N):
        total = weights_N[side_N].sum()
        weights_N = np.where(side_N, weights_N * len(faulty_N) / 2 / total, weights_N)
    bins = bins or Bins.of(X_N_F)
    target_N, odds_N = faulty_N.astype(np.float64), np.zeros(len(faulty_N))
    grown: list[Tree] = []
    for _ in range(trees):
        p_N = 1 / (1 + np.exp(-odds_N))
        tree = _grow(bins, weights_N * (target_N - p_N), weights_N * p_N * (1 - p_N))
        grown.append(tree)
        odds_N = odds_N + tree.log_odds(X_N_F)
    return Detector(fault=fault, start=0.0, trees=tuple(grown))


class Bins:
    """Features as bin numbers: bin 0 is missing, bin b holds values up to edge b.

    Args:
        bin_N_F: The bins.
        edges: The edges of each feature.
    """

    def __init__(self, bin_N_F: NDArray[np.int64], edges: Sequence[Numbers]) -> None:
        self.edges = edges
        self.bin_N_F = bin_N_F
        self.width = BINS + 2
        self._flat_N_F = bin_N_F + np.arange(len(edges)) * self.width

    @classmethod
    def of(cls, X_N_F: Numbers) -> Self:
        """Bins at the quantiles of each feature."""
        edges = [_edges(X_N_F[:, f]) for f in range(X_N_F.shape[1])]
        bins = [
            np.where(np.isnan(X_N_F[:, f]), 0, np.searchsorted(edge, X_N_F[:, f]) + 1)
            for f, edge in enumerate(edges)
        ]
        return cls(np.stack(bins, axis=1).astype(np.int64), edges)

    def take(self, rows_N: NDArray[np.int64]) -> "Bins":
        """The bins of some rows."""
        return Bins(self.bin_N_F[rows_N], self.edges)

    def sums(self, rows_N: NDArray[np.int64], values_N: Numbers) -> Numbers:
        """Sums of the values by feature and bin."""
        flat = self._flat_N_F[rows_N].ravel()
        weights = np.repeat(values_N[rows_N], len(self.edges))
        size = len(self.edges) * self.width
        found = np.bincount(flat, weights=weights, minlength=size).astype(np.float64)
        return found.reshape(len(self.edges), self.width)

    def best(
        self, rows_N: NDArray[np.int64], gradient_N: Numbers, hessian_N: Numbers
    ) -> tuple[Split, NDArray[np.bool_]] | None:
        """The split that lowers the loss most, and which rows go left; None without one."""
        g_F_B, h_F_B = self.sums(rows_N, gradient_N), self.sums(rows_N, hessian_N)
        g, h = float(gradient_N[rows_N].sum()), float(hessian_N[rows_N].sum())
        best, found = 1e-9, None
        has_missing = bool(h_F_B[:, 0].any())
        for missing_left in (True, False) if has_missing else (False,):
            start = 0 if missing_left else 1
            g_left = np.cumsum(g_F_B[:, start:], axis=1)[:, 1 - start : -1]
            h_left = np.cumsum(h_F_B[:, start:], axis=1)[:, 1 - start : -1]
            gain = (
                g_left**2 / (h_left + _PENALTY)
                + (g - g_left) ** 2 / (h - h_left + _PENALTY)
                - g**2 / (h + _PENALTY)
            )
            gain[(h_left < _MIN_WEIGHT) | (h - h_left < _MIN_WEIGHT)] = 0.0
            feature, place = divmod(int(gain.argmax()), gain.shape[1])
            if gain[feature, place] > best and place < len(self.edges[feature]):
                best = float(gain[feature, place])
                found = (feature, place, missing_left)
        if found is None:
            return None
        feature, place, missing_left = found
        bins_N = self.bin_N_F[rows_N, feature]
        split = Split(
            feature=feature, threshold=float(self.edges[feature][place]), missing_left=missing_left
        )
        return split, np.where(bins_N == 0, missing_left, bins_N <= place + 1)


def _grow(binned: Bins, gradient_N: Numbers, hessian_N: Numbers) -> Tree:
    rows_N = np.arange(len(gradient_N))

    def value(rows: NDArray[np.int64]) -> float:
        if not len(rows):
            return 0.0
        step = gradient_N[rows].sum() / (hessian_N[rows].sum() + _PENALTY)
        return float(LEARNING_RATE * np.clip(step, -_MOST_LOG_ODDS, _MOST_LOG_ODDS))

    top = binned.best(rows_N, gradient_N, hessian_N)
    if top is None:
        return Tree(first=None, left=None, right=None, values=(value(rows_N),) * 4)
    first, left_N = top
    splits: list[Split | None] = []
    values: list[float] = []
    for side in (rows_N[left_N], rows_N[~left_N]):
        deeper = binned.best(side, gradient_N, hessian_N)
        splits.append(deeper[0] if deeper else None)
        if deeper is None:
            values += [value(side)] * 2
        else:
            values += [value(side[deeper[1]]), value(side[~deeper[1]])]
    return Tree(
        first=first,
        left=splits[0],
        right=splits[1],
        values=(values[0], values[1], values[2], values[3]),
    )


def _edges(values_N: Numbers) -> Numbers:
    """Thresholds between neighbouring values near the quantiles; none for a constant feature."""
    distinct = np.unique(values_N[~np.isnan(values_N)])
    if len(distinct) < 2:  # noqa: PLR2004
        return np.zeros(0)
    middles = (distinct[1:] + distinct[:-1]) / 2
    if len(middles) <= BINS:
        return middles
    known = np.sort(values_N[~np.isnan(values_N)])
    wanted = np.quantile(known, np.linspace(0.01, 0.99, BINS))
    chosen: Numbers = np.unique(
        middles[np.clip(np.searchsorted(middles, wanted), 0, len(middles) - 1)]
    )
    return chosen


def _asked(tree: Tree, x_F: Numbers) -> list[int]:
    if tree.first is None:
        return []
    went_left = bool(tree.first.goes_left(x_F[None, :])[0])
    second = tree.left if went_left else tree.right
    return [tree.first.feature] if second is None else [tree.first.feature, second.feature]


def _four(values: Sequence[float]) -> tuple[float, float, float, float]:
    a, b, c, d = map(float, values)
    return a, b, c, d


def _split_json(split: Split | None, names: Sequence[str]) -> dict[str, Any] | None:
    if split is None:
        return None
    return {
        "feature": names[split.feature],
        "at_most": split.threshold,
        "missing_goes": "left" if split.missing_left else "right",
    }


def _split_from(stored: Mapping[str, Any] | None, names: Sequence[str]) -> Split | None:
    if stored is None:
        return None
    return Split(
        feature=list(names).index(stored["feature"]),
        threshold=float(stored["at_most"]),
        missing_left=stored["missing_goes"] == "left",
    )
