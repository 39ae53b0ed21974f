"""False alarms of the interval and the p-value of `prove`, by simulation without any effect.

    python benchmarks/interval_calibration.py --trials 400

Each trial draws a table of seeds by items whose true mean is 0 and counts whether a method finds a
difference at the 5 % level: the interval that `prove` reports, its p-value, and for comparison a
studentised bootstrap over seeds and items and Johnson's t, which is adjusted for skewness.
"""

import argparse
import json

import numpy as np
from numpy.typing import NDArray

from tutelage.stats.intervals import t_cdf
from tutelage.stats.paired_design import paired_interval, standard_error

Numbers = NDArray[np.float64]
SHAPES = ("normal", "lognormal", "outliers")
SEEDS = (4, 6, 8, 12)
ITEMS = (60, 200)
ALPHA = 0.05


def effects(shape: str, size: tuple[int, ...], draw: np.random.Generator) -> Numbers:
    """Centred effects of one shape with standard deviation 1."""
    if shape == "normal":
        return draw.normal(size=size)
    if shape == "lognormal":
        found = np.exp(draw.normal(size=size)) - np.exp(0.5)
        return found / np.sqrt((np.e - 1) * np.e)
    # One in ten is an outlier on one side, five standard deviations away.
    far = draw.random(size) < 0.1
    found = draw.normal(size=size) + np.where(far, 5.0, 0.0) - 0.5
    return found / np.sqrt(1 + 0.09 * 25)


def table(shape: str, seeds: int, items: int, draw: np.random.Generator) -> Numbers:
    """Differences without an effect: skewed items, normal seeds, and a rest of either kind."""
    of_items = effects(shape, (items,), draw)
    of_seeds = 0.1 * draw.normal(size=seeds)
    return of_items[None, :] + of_seeds[:, None] + effects(shape, (seeds, items), draw)


def studentised(D_S_I: Numbers, *, draws: int, draw: np.random.Generator) -> bool:
    """Whether 0 is outside the studentised two-way bootstrap interval."""
    seeds, items = D_S_I.shape
    mean, (error, _) = D_S_I.mean(), standard_error(D_S_I)
    ratios = []
    for _ in range(draws):
        again = D_S_I[draw.integers(seeds, size=seeds)][:, draw.integers(items, size=items)]
        spread, _ = standard_error(again)
        if spread > 0:
            ratios.append((again.mean() - mean) / spread)
    low, high = np.quantile(ratios, [ALPHA / 2, 1 - ALPHA / 2])
    return bool(mean - high * error > 0 or mean - low * error < 0)


def johnson(D_S_I: Numbers) -> bool:
    """Whether Johnson's t over the means of the items finds a difference."""
    mean, (error, freedom) = D_S_I.mean(), standard_error(D_S_I)
    items = D_S_I.mean(axis=0)
    third, second = ((items - mean) ** 3).mean(), items.var(ddof=1)
    moved = mean + third / (6 * second * len(items)) + third / (3 * second**2) * mean**2
    return bool(2 * t_cdf(-abs(moved) / error, freedom) < ALPHA)


def rates(
    shape: str, seeds: int, items: int, *, trials: int, slow: int, seed: int
) -> dict[str, float | int | str]:
    """Shares of trials in which each method finds a difference that is not there."""
    draw = np.random.default_rng([seed, SHAPES.index(shape), seeds, items])
    found = {"interval": 0, "p": 0, "johnson": 0, "studentised": 0}
    for trial in range(trials):
        D_S_I = table(shape, seeds, items, draw)
        interval = paired_interval(D_S_I, seed=trial, draws=500)
        found["interval"] += interval.excludes_zero
        found["p"] += interval.p_value < ALPHA
        found["johnson"] += johnson(D_S_I)
        if trial < slow:
            found["studentised"] += studentised(D_S_I, draws=199, draw=draw)
    of = {name: slow if name == "studentised" else trials for name in found}
    shares = {name: round(count / of[name], 3) for name, count in found.items() if of[name]}
    return {"effects": shape, "seeds": seeds, "items": items, **shares}


def main() -> None:
    """Print one line for each shape, number of seeds and number of items."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--slow", type=int, default=0, help="trials of the studentised bootstrap")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--effects", nargs="+", choices=SHAPES, default=SHAPES)
    wanted = parser.parse_args()
    for shape in wanted.effects:
        for seeds in SEEDS:
            for items in ITEMS:
                row = rates(
                    shape, seeds, items, trials=wanted.trials, slow=wanted.slow, seed=wanted.seed
                )
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
