"""Standings: ranks with intervals, and entrants that cannot be distinguished.

Questions are resampled, because another 200 questions could have been used. Teachers answer the
same questions, so they share each resample and differences are paired; sources have different
questions, so each is resampled separately.

Significant differences are tested for all pairs simultaneously (`stats.multiple_testing`). With the
stated probability all intervals are correct together, and so are the ranks derived from them
(Mogstad, Romano, Shaikh and Wilhelm, Inference for Ranks, Review of Economic Studies 2024): an
entrant's best possible rank is 1 + how many are surely better, its worst the number of entrants
less how many are surely worse.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from tutelage.data.schemas import PAIRS, STANDINGS
from tutelage.errors import SettingsError
from tutelage.experiments.rank.answer_grid import ALL, Cells, Places, cells_of
from tutelage.experiments.rank.predictors import Predictor
from tutelage.experiments.rank.sequential_stopping import influences
from tutelage.stats.bootstrap import grouped_draws
from tutelage.stats.intervals import Numbers
from tutelage.stats.multiple_testing import pair_intervals

DRAWS = 1000
FEWEST_QUESTIONS = 10
"""Least number of questions with a bootstrap interval and comparisons."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standings:
    """Standings of a ranking, with the pairs that can be distinguished.

    Attributes:
        table: The STANDINGS schema: domain by predictor by entrant, best first.
        pairs: The PAIRS schema.
    """

    table: pa.Table
    pairs: pa.Table


def rank(
    answers: pa.Table,
    predictors: Sequence[Predictor],
    *,
    paired: bool = True,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Standings:
    """Rank teachers or sources by every predictor, over all questions and by domain.

    The result depends on the answers and the seed, not on the order of rows.

    Args:
        answers: As for `cells_of`, with the columns of the predictors.
        predictors: What to rank by.
        paired: Whether entrants answer the same questions (teachers) or have their own (sources).
        level: Confidence level of intervals, in (0, 1).
        draws: Number of draws of the bootstrap.
        seed: Seed of the bootstrap.

    Raises:
        DataError: There is no answer, or a column is missing.
        SettingsError: The level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise SettingsError(f"level {level} must lie between 0 and 1")
    columns = list(dict.fromkeys(name for p in predictors for name in p.columns))
    cells = cells_of(answers, columns=columns)
    rows: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    for domain, part in _domains(cells):
        groups = np.zeros(len(part.questions), dtype=np.int64) if paired else _owner(part)
        weights = grouped_draws(groups, draws=draws, seed=seed)
        for predictor in predictors:
            found = _Contest(part, predictor, weights, level=level, paired=paired, seed=seed)
            place = {"domain": domain, "predictor": predictor.name}
            rows += [{**place, **row} for row in found.rows()]
            pairs += [{**place, **row} for row in found.pair_rows()]
    return Standings(
        table=pa.Table.from_pylist(rows, schema=STANDINGS),
        pairs=pa.Table.from_pylist(pairs, schema=PAIRS),
    )


def _domains(cells: Cells) -> Iterator[tuple[str, Cells]]:
    yield ALL, cells
    names = sorted(set(cells.domains))
    if len(names) > 1:
        domains = np.array(cells.domains)
        for name in names:
            yield name or "(none)", cells.only(domains == name)


def _owner(cells: Cells) -> Places:
    there = np.logical_or.reduce([np.isfinite(values) for values in cells.numbers.values()])
    return np.asarray(there.argmax(axis=0), dtype=np.int64)


class _Contest:
    """One predictor over one set of questions."""

    def __init__(
        self,
        cells: Cells,
        predictor: Predictor,
        weights: Numbers,
        *,
        level: float,
        paired: bool,
        seed: int,
    ) -> None:
        self._cells = cells
        self._predictor = predictor
        columns, there = cells.grid(predictor)
        self._questions_E = there.sum(axis=1)
        self._value_E = _of_weights(columns, there, np.ones((1, there.shape[1])), predictor)[0]
        self._draw_D_E = _of_weights(columns, there, weights, predictor)
        self._level = level
        self._order = self._sorted()
        _, terms_E_Q = influences(columns, there, predictor)
        self._sure = self._sure_pairs(terms_E_Q, paired=paired, seed=seed)

    def _sorted(self) -> list[int]:
        """Entrants best first; those without a number last; ties by name."""
        better = self._predictor.sign * self._value_E
        return sorted(
            range(len(better)),
            key=lambda e: (np.isnan(better[e]), -better[e] if np.isfinite(better[e]) else 0.0, e),
        )

    def _sure_pairs(
        self, terms_E_Q: Numbers, *, paired: bool, seed: int
    ) -> dict[tuple[int, int], tuple[float, float, bool]]:
        """Simultaneous interval of each pair, the better first, and whether it excludes 0.

        The interval is over questions that both have a number for, the order over all that each
        has. Where the two contradict each other (one could not be scored on what is hard), neither
        is surely better.
        """
        enough = self._questions_E >= FEWEST_QUESTIONS
        known = [e for e in self._order if np.isfinite(self._value_E[e]) and enough[e]]
        there = np.isfinite(terms_E_Q)
        pairs = [
            (a, b)
            for a, b in combinations(known, 2)
            if not paired or int((there[a] & there[b]).sum()) >= FEWEST_QUESTIONS
        ]
        if not pairs:
            return {}
        first, second = (np.array(side) for side in zip(*pairs, strict=True))
        told = pair_intervals(
            terms_E_Q,
            first,
            second,
            paired=paired,
            level=self._level,
            draws=len(self._draw_D_E),
            seed=seed,
        )
        agrees = self._predictor.sign * (told.low + told.high) > 0
        return {
            pair: (float(told.low[i]), float(told.high[i]), bool(told.apart[i] and agrees[i]))
            for i, pair in enumerate(pairs)
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows of all entrants, best first."""
        tail = (1 - self._level) / 2
        first_E = self._first_fractions()
        better_E = self._predictor.sign * self._value_E
        known = [e for e in self._order if np.isfinite(self._value_E[e])]
        for e in self._order:
            row: dict[str, Any] = {
                "entrant": self._cells.entrants[e],
                "better": self._predictor.better,
                "questions": int(self._questions_E[e]),
                "answers": int(self._cells.answered[e]),
            }
            if e in known:
                row["value"] = float(self._value_E[e])
                row["rank"] = 1 + int((better_E[known] > better_E[e]).sum())
                if self._questions_E[e] >= FEWEST_QUESTIONS:
                    drawn = self._draw_D_E[:, e]
                    low, high = np.quantile(drawn[np.isfinite(drawn)], (tail, 1 - tail))
                    best, worst = self._rank_bounds(e, known)
                    row |= {"low": float(low), "high": float(high), "rank_best": best}
                    row |= {"rank_worst": worst, "first_fraction": float(first_E[e])}
            yield row

    def _rank_bounds(self, entrant: int, known: Sequence[int]) -> tuple[int, int]:
        surely_better = sum(1 for (_, b), r in self._sure.items() if b == entrant and r[2])
        surely_worse = sum(1 for (a, _), r in self._sure.items() if a == entrant and r[2])
        return 1 + surely_better, len(known) - surely_worse

    def _first_fractions(self) -> Numbers:
        better_D_E = self._predictor.sign * self._draw_D_E
        better_D_E = np.where(np.isfinite(better_D_E), better_D_E, -np.inf)
        best_D = better_D_E.max(axis=1, keepdims=True)
        first_D_E = (better_D_E >= best_D) & np.isfinite(best_D)
        shared = first_D_E / np.maximum(first_D_E.sum(axis=1, keepdims=True), 1)
        fractions: Numbers = shared.mean(axis=0)
        return fractions

    def pair_rows(self) -> Iterator[dict[str, Any]]:
        """Rows of all pairs that both have enough questions."""
        for (a, b), (low, high, apart) in self._sure.items():
            yield {
                "a": self._cells.entrants[a],
                "b": self._cells.entrants[b],
                "difference": float(self._value_E[a] - self._value_E[b]),
                "low": low,
                "high": high,
                "told_apart": apart,
            }


def _of_weights(
    columns: Sequence[Numbers], there: Numbers | Any, weights_D_Q: Numbers, predictor: Predictor
) -> Numbers:
    """Predictor of every entrant in every draw, D by E; NaN where it is undefined."""
    counts_D_E = weights_D_Q @ there.T.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = [(weights_D_Q @ values.T) / counts_D_E for values in columns]
    return predictor.of_means(means)
