"""Standings: ranks with intervals, entrants that cannot be distinguished, sequential stopping.

Questions are resampled, because another 200 questions could have been used. Teachers answer the
same questions, so they share each resample and differences are paired; sources have different
questions, so each is resampled separately.

Significant differences are tested for all pairs simultaneously (`stats.multiple_testing`). With the
stated probability all intervals are correct together, and so are the ranks derived from them
(Mogstad, Romano, Shaikh and Wilhelm, Inference for Ranks, Review of Economic Studies 2024): an
entrant's best possible rank is 1 + how many are surely better, its worst the number of entrants
minus how many are surely worse.

Sequential stopping is a test of the first place that is valid at any number of looks: a confidence
sequence (`stats.intervals`) of the differences between teachers holds at all looks together. A
ratio of means enters by its linearisation: the terms are how far each question moves the ratio
(influence values). E entrants share alpha by Bonferroni over E - 1 rivals; a wrong first place, or
any first place where all are equal, then comes up with a probability of at most alpha in large
samples. The first looks are skipped, because their samples are small.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from tutelage.data.schemas import PAIRS, SETTLING, STANDINGS
from tutelage.errors import SettingsError
from tutelage.experiments.rank.predictors import ALL, Cells, Places, Predictor, cells_of
from tutelage.stats.bootstrap import grouped_draws
from tutelage.stats.intervals import Numbers, surely_above_zero
from tutelage.stats.multiple_testing import pair_intervals

FEWEST_BEFORE_STOP = 25
"""Least number of questions before a conclusion: the sequence is asymptotic."""
TUNED_FOR_QUESTIONS = 150
"""Number of questions at which the sequence is tightest; it is valid at all counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSettings:
    """Settings of the test of the first place.

    Attributes:
        level: The probability of never claiming a wrong first place, in (0, 1).
        fewest: No claim before so many questions.
        tuned_for: Where the sequence is tightest.
    """

    level: float = 0.95
    fewest: int = FEWEST_BEFORE_STOP
    tuned_for: int = TUNED_FOR_QUESTIONS

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise SettingsError(f"level {self.level} must lie between 0 and 1")
        if self.fewest < 2 or self.tuned_for < 1:  # noqa: PLR2004  (a spread needs two)
            raise SettingsError("the watch needs at least 2 questions")


def asking_order(questions: Sequence[str], *, seed: int) -> list[str]:
    """Order of questions that depends only on their ids and the seed."""

    def key(question: str) -> bytes:
        text = f"{seed} {question}".encode("utf-8", "surrogatepass")
        return blake2b(text, digest_size=16).digest()

    return sorted(questions, key=key)


def first_place_by_questions(
    answers: pa.Table,
    predictor: Predictor,
    *,
    looks: Sequence[int],
    settings: WatchSettings | None = None,
    seed: int = 0,
) -> pa.Table:
    """Leader after each number of questions, and the entrants that may still be first.

    An entrant that was surely worse than another at an earlier look stays out. One that has not a
    single number after `fewest` questions is out as long as it has none.

    Args:
        answers: As for `cells_of`; the entrants answer the same questions.
        predictor: What is ranked by.
        looks: After how many questions; ascending.
        settings: How surely.
        seed: Seed of the order of questions.

    Returns:
        The SETTLING schema, one row a look that there are questions for.
    """
    settings = settings or WatchSettings()
    cells = cells_of(answers, columns=predictor.columns)
    place = {question: index for index, question in enumerate(cells.questions)}
    order = np.array([place[q] for q in asking_order(cells.questions, seed=seed)])
    out: set[int] = set()
    rows = []
    for look in looks:
        if look > len(order):
            break
        row, out = _look(cells, predictor, order[:look], out, settings)
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=SETTLING)


def still_running(
    answers: pa.Table, predictor: Predictor, *, settings: WatchSettings | None = None
) -> tuple[str, ...]:
    """Entrants that may still be first, given all answers so far; sorted.

    Those without a single number are among them until `fewest` questions are answered.

    Args:
        answers: Table of answers.
        predictor: The deciding predictor.
        settings: Settings of the test; None for the default.

    Raises:
        DataError: There is no answer.
    """
    cells = cells_of(answers, columns=predictor.columns)
    every = np.arange(len(cells.questions))
    row, _ = _look(cells, predictor, every, set(), settings or WatchSettings())
    return tuple(row["in_running"])


def _look(
    cells: Cells, predictor: Predictor, places: Places, out: set[int], settings: WatchSettings
) -> tuple[dict[str, Any], set[int]]:
    columns, there = cells.grid(predictor)
    columns = [values[:, places] for values in columns]
    there = there[:, places]
    value_E, influence_E_T = influences(columns, there, predictor)
    better_E = predictor.sign * value_E
    known = [e for e in range(len(better_E)) if np.isfinite(better_E[e])]
    # Who has no number after that many questions is not first by it; before, that may be chance.
    entrants = range(len(cells.entrants)) if len(places) < settings.fewest else known
    if not known:
        names = [cells.entrants[e] for e in entrants]
        return {"questions": len(places), "in_running": names, "settled": False}, out
    alpha = (1 - settings.level) / max(1, len(cells.entrants) - 1)
    out = set(out)
    for worse in known:
        if worse in out:
            continue
        # Only those still running compete, so that the last one can never go out.
        for rival in (e for e in known if e not in out):
            if better_E[rival] > better_E[worse] and surely_above_zero(
                (predictor.sign * (influence_E_T[rival] - influence_E_T[worse]))[
                    there[rival] & there[worse]
                ],
                alpha=alpha,
                fewest=settings.fewest,
                tuned_for=settings.tuned_for,
            ):
                out.add(worse)
                break
    running = [e for e in entrants if e not in out]
    leader = max(set(known) & set(running), key=lambda e: (better_E[e], -e))
    row = {
        "questions": len(places),
        "leader": cells.entrants[leader],
        "value": float(value_E[leader]),
        "in_running": [cells.entrants[e] for e in running],
        "settled": running == [leader],
    }
    return row, out


def influences(
    columns: Sequence[Numbers], there: Any, predictor: Predictor
) -> tuple[Numbers, Numbers]:
    """Predictor of each entrant, and the influence of each question on it.

    Args:
        columns: E by T, 0 where there is nothing.
        there: E by T, where all columns have a number.
        predictor: What is computed.

    Returns:
        The value of each entrant; and E by T the terms whose mean over the entrant's questions is
        its value: value + slope * (column - mean), NaN where there is nothing.
    """
    counts_E = there.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = [values.sum(axis=1) / counts_E for values in columns]
    value_E = predictor.of_means(means)
    terms = np.full(there.shape, np.nan)
    for e in np.flatnonzero(np.isfinite(value_E)):
        at = [float(mean[e]) for mean in means]
        moved = sum(
            slope * (values[e] - mean)
            for slope, values, mean in zip(predictor.slopes(at), columns, at, strict=True)
        )
        terms[e] = np.where(there[e], value_E[e] + moved, np.nan)
    return value_E, terms


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
