"""Detectors of single faults: small boosted trees and a linear model, readable as JSON.

One detector distinguishes one fault from clean rows. A gate needs several detectors because faults
differ in opposite directions: scrambled text is surprising, an echo is not. The trees are few and
of depth 2, so the features that they use can be listed. Trees alone give the same log-odds to all
rows beyond their last thresholds; the linear model still ranks these. A fitted detector consists of
plain numbers: applying it needs no other library and loads no pickle.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError

Numbers = NDArray[np.float64]

TREES = 60
DEPTH_LEAVES = 4
LEARNING_RATE = 0.25
BINS = 24
ASKED_SHARE = 0.15
"""Share of features offered to each tree, drawn at random: a row that looks faulty by one
feature then ranks below one that looks faulty by many."""
_LEAST_ASKED = 8
_DRAW = 16
_PENALTY = 1.0
_MIN_WEIGHT = 2.0
"""Least sum of hessians in a leaf, so that no leaf rests on a handful of rows."""
_MOST_LOG_ODDS = 4.0
_LINEAR_SHARE = 0.5
"""Share of the linear model in the log-odds; the rest comes from the trees."""
_RIDGE = 1.0
_LEAST_SCALE = 0.1
"""Least scale of a feature, as a share of its standard deviation over clean and faulty rows."""
_NEWTON_STEPS = 25
_MOST_LINEAR = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Split by one feature: values up to the threshold, and missing ones, go left.

    Attributes:
        feature: Index of the feature.
        threshold: Compared with it.
        missing_left: Whether a missing feature goes left.
    """

    feature: int
    threshold: float
    missing_left: bool

    def goes_left(self, X_N_F: Numbers) -> NDArray[np.bool_]:
        """Mask of rows that go left."""
        values_N = X_N_F[:, self.feature]
        left: NDArray[np.bool_] = np.where(
            np.isnan(values_N), self.missing_left, values_N <= self.threshold
        )
        return left


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Tree of depth 2: one root split, one split on each side, and four values.

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
        """Contribution of this tree to the log-odds of each row."""
        if self.first is None:
            return np.full(len(X_N_F), self.values[0])
        left_N = self.first.goes_left(X_N_F)
        in_left_N = left_N if self.left is None else self.left.goes_left(X_N_F)
        in_right_N = ~left_N if self.right is None else self.right.goes_left(X_N_F)
        leaf_N = np.where(left_N, np.where(in_left_N, 0, 1), np.where(in_right_N, 2, 3))
        found: Numbers = np.array(self.values)[leaf_N]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """Logistic regression on scaled features.

    A feature is centered and scaled by its values in the clean rows. Its size is then replaced by
    the logarithm of one plus its size, with the sign kept, so that a single extreme value does not
    dominate. A missing feature counts as the center.

    Attributes:
        start: Log-odds of a row with all features at their centers.
        centers: Of each feature.
        scales: Of each feature, positive.
        weights: Of each scaled feature.
    """

    start: float
    centers: tuple[float, ...]
    scales: tuple[float, ...]
    weights: tuple[float, ...]

    def parts(self, X_N_F: Numbers) -> Numbers:
        """Contribution of each feature to the log-odds of each row, shape (N, F)."""
        scaled_N_F = _scaled(X_N_F, np.array(self.centers), np.array(self.scales))
        found: Numbers = scaled_N_F * np.array(self.weights)
        return found

    def log_odds(self, X_N_F: Numbers) -> Numbers:
        """Log-odds of each row, within -30 and 30."""
        found: Numbers = np.clip(
            self.start + self.parts(X_N_F).sum(axis=1), -_MOST_LINEAR, _MOST_LINEAR
        )
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """Detector of rows with one fault.

    Attributes:
        fault: The name of the fault.
        start: Log-odds before the first tree.
        trees: Added up.
        linear: Averaged with the sum of the trees; None for trees alone.
    """

    fault: str
    start: float
    trees: tuple[Tree, ...]
    linear: Linear | None = None

    def log_odds(self, X_N_F: Numbers) -> Numbers:
        """Log-odds of the fault for each row; positive where the fault is more likely than not."""
        total_N = np.full(len(X_N_F), self.start)
        for tree in self.trees:
            total_N = total_N + tree.log_odds(X_N_F)
        if self.linear is None:
            return total_N
        return (1 - _LINEAR_SHARE) * total_N + _LINEAR_SHARE * self.linear.log_odds(X_N_F)

    def evidence(self, x_F: Numbers, *, names: Sequence[str]) -> dict[str, float]:
        """Contribution of each feature to the log-odds of one row.

        A tree's value goes in equal parts to the features that it asked on the way of this row. The
        linear model adds its own part of each feature.

        Args:
            x_F: The features of the row.
            names: Their names.

        Returns:
            Log-odds by feature, the largest first; features without a part are left out.
        """
        parts: dict[str, float] = {}
        share = 1.0 if self.linear is None else 1 - _LINEAR_SHARE
        for tree in self.trees:
            value = share * float(tree.log_odds(x_F[None, :])[0])
            asked = _asked(tree, x_F)
            for feature in asked:
                name = names[feature]
                parts[name] = parts.get(name, 0.0) + value / len(asked)
        if self.linear is not None:
            own_F = _LINEAR_SHARE * self.linear.parts(x_F[None, :])[0]
            for name, value, x in zip(names, own_F.tolist(), x_F.tolist(), strict=True):
                if value != 0 and not math.isnan(x):
                    parts[name] = parts.get(name, 0.0) + value
        return dict(sorted(parts.items(), key=lambda item: (-item[1], item[0])))

    def as_json(self, *, names: Sequence[str]) -> dict[str, Any]:
        """JSON form of the detector, with features by name."""
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
            "linear": None if self.linear is None else _linear_json(self.linear, names),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], *, names: Sequence[str]) -> Self:
        """Detector from the JSON that `as_json` gives.

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
            return cls(
                fault=str(stored["fault"]), start=float(stored["start"]), trees=trees,
                linear=_linear_from(stored.get("linear"), names),
            )  # fmt: skip
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
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
    trees: int = TREES,
) -> Detector:
    """Fit one detector; see `fit_detectors`.

    Args:
        fault: The name of the fault.
        X_N_F: Features, NaN where missing.
        faulty_N: Which rows have the fault.
        weight_N: Weights of rows, such as less for a mild dose.
        trees: Number of trees.

    Raises:
        DataError: There are no clean or no faulty rows.
    """
    weights_N = np.ones(len(faulty_N)) if weight_N is None else weight_N
    task = Task(fault=fault, clean_N=~faulty_N * weights_N, faulty_N=faulty_N * weights_N)
    return with_linear(fit_detectors([task], bins=Bins.of(X_N_F), trees=trees), [task], X_N_F)[0]


def fit_linear(task: "Task", X_N_F: Numbers) -> Linear:
    """Fit the linear model of one detector: ridge logistic regression by Newton's method.

    Args:
        task: Weights of the clean and the faulty rows; both count the same in total.
        X_N_F: Features of all rows, NaN where missing.
    """
    weight_N = task.clean_N / task.clean_N.sum() + task.faulty_N / task.faulty_N.sum()
    used_N = weight_N > 0
    X_N_F, weight_N, y_N = X_N_F[used_N], weight_N[used_N], task.faulty_N[used_N] > 0
    weight_N = weight_N * len(weight_N) / 2
    center_F, scale_F = _center_and_scale(X_N_F, clean_N=~y_N)
    Z_N_F = np.column_stack([np.ones(len(X_N_F)), _scaled(X_N_F, center_F, scale_F)])
    penalty_F = np.full(Z_N_F.shape[1], _RIDGE)
    penalty_F[0] = 1e-6
    b_F = np.zeros(Z_N_F.shape[1])
    for _ in range(_NEWTON_STEPS):
        p_N = 1 / (1 + np.exp(-np.clip(Z_N_F @ b_F, -_MOST_LINEAR, _MOST_LINEAR)))
        gradient_F = Z_N_F.T @ (weight_N * (y_N - p_N)) - penalty_F * b_F
        curved_F_F = (Z_N_F * (weight_N * p_N * (1 - p_N))[:, None]).T @ Z_N_F
        step_F = np.linalg.solve(curved_F_F + np.diag(penalty_F), gradient_F)
        b_F = b_F + step_F
        if np.abs(step_F).max() < 1e-6:  # noqa: PLR2004
            break
    return Linear(
        start=float(b_F[0]), centers=tuple(center_F.tolist()), scales=tuple(scale_F.tolist()),
        weights=tuple(b_F[1:].tolist()),
    )  # fmt: skip


def with_linear(
    detectors: Sequence[Detector], tasks: Sequence["Task"], X_N_F: Numbers
) -> list[Detector]:
    """Detectors of trees, each with the linear model of its task.

    Args:
        detectors: As `fit_detectors` gives them for the tasks.
        tasks: What they were fitted on.
        X_N_F: Features of all rows, NaN where missing.
    """
    return [
        replace(detector, linear=fit_linear(task, X_N_F))
        for detector, task in zip(detectors, tasks, strict=True)
    ]


def _center_and_scale(X_N_F: Numbers, *, clean_N: NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
    """Median and spread of the clean rows; 0 and 1 for a feature that all of them lack."""
    center_F, scale_F = np.zeros(X_N_F.shape[1]), np.ones(X_N_F.shape[1])
    for f in range(X_N_F.shape[1]):
        known_N = ~np.isnan(X_N_F[:, f])
        own = X_N_F[known_N & clean_N, f]
        if len(own) == 0:
            continue
        low, center_F[f], high = np.quantile(own, (0.25, 0.5, 0.75))
        spread = float(X_N_F[known_N, f].std())
        scale = max((high - low) / 1.35, _LEAST_SCALE * spread) if high > low else spread
        scale_F[f] = scale if scale > 0 else 1.0
    return center_F, scale_F


def _scaled(X_N_F: Numbers, center_F: Numbers, scale_F: Numbers) -> Numbers:
    Z_N_F = (X_N_F - center_F) / scale_F
    found: Numbers = np.nan_to_num(np.sign(Z_N_F) * np.log1p(np.abs(Z_N_F)), nan=0.0)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Training data of one detector, as indices into rows that detectors share.

    Attributes:
        fault: The name of the fault.
        clean_N: Weights of rows as clean ones; 0 for rows that it does not see.
        faulty_N: Weights of rows as faulty ones.
    """

    fault: str
    clean_N: Numbers = field(repr=False)
    faulty_N: Numbers = field(repr=False)


def fit_detectors(tasks: Sequence[Task], *, bins: "Bins", trees: int = TREES) -> list[Detector]:
    """Fit several detectors together by gradient boosting of the log loss.

    Clean and faulty rows of a detector weigh the same in total. Splits are tried at quantiles;
    missing features go to the side where they lower the loss more. Each tree uses a random part of
    the features (fixed seed), so no detector depends on a single feature.

    Args:
        tasks: One for each detector.
        bins: The features of all rows.
        trees: Number of trees of each.

    Raises:
        DataError: A task has no clean or no faulty rows.
    """
    for task in tasks:
        if not task.clean_N.any() or not task.faulty_N.any():
            raise DataError(f"fault {task.fault}: a detector needs faulty and clean rows")
    rows = len(bins.bin_N_F)
    clean_M_N = np.stack([t.clean_N / t.clean_N.sum() for t in tasks]) * rows / 2
    faulty_M_N = np.stack([t.faulty_N / t.faulty_N.sum() for t in tasks]) * rows / 2
    weight_M_N, odds_M_N = clean_M_N + faulty_M_N, np.zeros((len(tasks), rows))
    grown: list[list[Tree]] = [[] for _ in tasks]
    draw, features = np.random.default_rng(_DRAW), bins.bin_N_F.shape[1]
    asked = min(features, max(_LEAST_ASKED, math.ceil(ASKED_SHARE * features)))
    for _ in range(trees):
        asked_F = np.zeros(features, dtype=np.bool_)
        asked_F[draw.permutation(features)[:asked]] = True
        p_M_N = 1 / (1 + np.exp(-odds_M_N))
        gradient_M_N = faulty_M_N - weight_M_N * p_M_N
        for m, (tree, value_N) in enumerate(
            _grow(bins, gradient_M_N, weight_M_N * p_M_N * (1 - p_M_N), asked_F=asked_F)
        ):
            grown[m].append(tree)
            odds_M_N[m] += value_N
    return [
        Detector(fault=task.fault, start=0.0, trees=tuple(own))
        for task, own in zip(tasks, grown, strict=True)
    ]


class Bins:
    """Binned features: bin 0 is missing, bin b holds values up to edge b.

    Args:
        bin_N_F: The bins.
        edges: The edges of each feature.
    """

    def __init__(self, bin_N_F: NDArray[np.int64], edges: Sequence[Numbers]) -> None:
        self.edges = edges
        self.bin_N_F = bin_N_F
        self.width = max((len(e) for e in edges), default=0) + 2
        rows, features = bin_N_F.shape
        flat_N_F = bin_N_F + np.arange(features) * self.width
        self._places_N_B = np.zeros((rows, features * self.width), dtype=np.float32)
        np.put_along_axis(self._places_N_B, flat_N_F, 1.0, axis=1)
        self._has_missing = bool((bin_N_F == 0).any())
        self._edge_F_B = np.arange(self.width - 1) < np.array([len(e) for e in edges])[:, None]

    @classmethod
    def of(cls, X_N_F: Numbers) -> Self:
        """Features binned at the quantiles of each."""
        edges = [_edges(X_N_F[:, f]) for f in range(X_N_F.shape[1])]
        bins = [
            np.where(np.isnan(X_N_F[:, f]), 0, np.searchsorted(edge, X_N_F[:, f]) + 1)
            for f, edge in enumerate(edges)
        ]
        return cls(np.stack(bins, axis=1).astype(np.int64), edges)

    def best(
        self, gradient_M_N: Numbers, hessian_M_N: Numbers, *, asked_F: NDArray[np.bool_]
    ) -> list[tuple[Split, NDArray[np.bool_]] | None]:
        """For each task, the split that lowers the loss most, and the rows that go left.

        Args:
            gradient_M_N: 0 for rows that are not in the node that is split.
            hessian_M_N: The same.
            asked_F: Which features a split may ask for.
        """
        tasks = len(gradient_M_N)
        sums_X_F_B = self._sums(np.concatenate([gradient_M_N, hessian_M_N]).astype(np.float32))
        g_M_F_B, h_M_F_B = sums_X_F_B[:tasks], sums_X_F_B[tasks:]
        g_M, h_M = g_M_F_B[:, :1].sum(axis=2)[..., None], h_M_F_B[:, :1].sum(axis=2)[..., None]
        best_M = np.full(tasks, 1e-5)
        found: list[tuple[int, int, bool] | None] = [None] * tasks
        for missing_left in (True, False) if self._has_missing else (False,):
            start = 0 if missing_left else 1
            left_g = np.cumsum(g_M_F_B[:, :, start:], axis=2)[:, :, 1 - start : -1]
            left_h = np.cumsum(h_M_F_B[:, :, start:], axis=2)[:, :, 1 - start : -1]
            gain_M_F_B = (
                left_g**2 / (left_h + _PENALTY)
                + (g_M - left_g) ** 2 / (h_M - left_h + _PENALTY)
                - g_M**2 / (h_M + _PENALTY)
            )
            small = (left_h < _MIN_WEIGHT) | (h_M - left_h < _MIN_WEIGHT)
            allowed_F_B = self._edge_F_B[:, : gain_M_F_B.shape[2]] & asked_F[:, None]
            gain_M_F_B[small | ~allowed_F_B[None]] = 0.0
            flat_M_X = gain_M_F_B.reshape(len(gain_M_F_B), -1)
            for m, place in enumerate(flat_M_X.argmax(axis=1).tolist()):
                if flat_M_X[m, place] > best_M[m]:
                    best_M[m] = flat_M_X[m, place]
                    found[m] = (*divmod(place, gain_M_F_B.shape[2]), missing_left)
        return [None if f is None else self._split(*f) for f in found]

    def _sums(self, values_X_N: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sums of values by feature and bin."""
        sums: NDArray[np.float32] = values_X_N @ self._places_N_B
        return sums.reshape(len(values_X_N), len(self.edges), self.width)

    def _split(
        self,
        feature: int,
        place: int,
        missing_left: bool,  # noqa: FBT001
    ) -> tuple[Split, NDArray[np.bool_]]:
        bins_N = self.bin_N_F[:, feature]
        split = Split(
            feature=feature, threshold=float(self.edges[feature][place]), missing_left=missing_left
        )
        return split, np.where(bins_N == 0, missing_left, bins_N <= place + 1)


def _grow(
    bins: Bins, gradient_M_N: Numbers, hessian_M_N: Numbers, *, asked_F: NDArray[np.bool_]
) -> list[tuple[Tree, Numbers]]:
    """Next tree of each task, and its value for each row."""
    tasks, rows = gradient_M_N.shape
    everything_N = np.ones(rows, dtype=np.bool_)
    tops = bins.best(gradient_M_N, hessian_M_N, asked_F=asked_F)
    left_M_N = np.stack([everything_N if top is None else top[1] for top in tops])
    sides_X_N = np.concatenate([left_M_N, ~left_M_N])
    deeper = bins.best(
        np.concatenate([gradient_M_N] * 2) * sides_X_N,
        np.concatenate([hessian_M_N] * 2) * sides_X_N,
        asked_F=asked_F,
    )
    grown = []
    for m, top in enumerate(tops):
        leaf_N = np.where(left_M_N[m], 0, 2)
        splits: list[Split | None] = []
        for side, split in enumerate((deeper[m], deeper[tasks + m]) if top else (None, None)):
            splits.append(split[0] if split else None)
            if split:
                leaf_N += (left_M_N[m] == (side == 0)) & ~split[1]
        g_L = np.bincount(leaf_N, weights=gradient_M_N[m], minlength=DEPTH_LEAVES)
        h_L = np.bincount(leaf_N, weights=hessian_M_N[m], minlength=DEPTH_LEAVES)
        step_L = np.clip(g_L / (h_L + _PENALTY), -_MOST_LOG_ODDS, _MOST_LOG_ODDS)
        value_L = LEARNING_RATE * step_L
        for first, split in zip((0, 2), splits, strict=True):
            if split is None:
                value_L[first + 1] = value_L[first]
        if top is None:
            value_L[:] = value_L[0]
        values = (float(value_L[0]), float(value_L[1]), float(value_L[2]), float(value_L[3]))
        tree = Tree(first=top[0] if top else None, left=splits[0], right=splits[1], values=values)
        grown.append((tree, value_L[leaf_N]))
    return grown


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


def _linear_json(linear: Linear, names: Sequence[str]) -> dict[str, Any]:
    return {
        "start": linear.start,
        "features": {
            name: {"center": center, "scale": scale, "weight": weight}
            for name, center, scale, weight in zip(
                names, linear.centers, linear.scales, linear.weights, strict=True
            )
        },
    }


def _linear_from(stored: Mapping[str, Any] | None, names: Sequence[str]) -> Linear | None:
    if stored is None:
        return None
    features = [stored["features"][name] for name in names]
    found = Linear(
        start=float(stored["start"]),
        centers=tuple(float(f["center"]) for f in features),
        scales=tuple(float(f["scale"]) for f in features),
        weights=tuple(float(f["weight"]) for f in features),
    )
    if not np.isfinite([found.start, *found.centers, *found.scales, *found.weights]).all():
        raise ValueError("a number of the linear model is not finite")
    if min(found.scales) <= 0:
        raise ValueError("a scale is not positive")
    return found


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
