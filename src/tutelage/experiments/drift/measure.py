"""Drift of several sets: every measure of every set compared with the first, with intervals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from tutelage.data.schemas import DRIFT
from tutelage.errors import DataError
from tutelage.experiments.drift.measures import (
    Grams,
    TextSet,
    compression_ratio,
    counts_of,
    distinct,
    grams_of,
    jensen_shannon,
    log_ratio,
    share_by_teacher,
    spread,
    weighted_mean,
    words_of,
)
from tutelage.stats.bootstrap import Codes, Replicates, Resampling
from tutelage.stats.intervals import Estimate, Numbers, wilson

# ----------------------------------------------------------------------------------------------
# One measure of one set, and many of them as a table.
# ----------------------------------------------------------------------------------------------


UNITS: Mapping[str, str] = MappingProxyType(
    {
        "words": "words per text",
        "tokens": "tokens per text",
        "distinct_1": "share of words",
        "distinct_2": "share of word pairs",
        "distinct_3": "share of word triples",
        "compression_ratio": "ratio",
        "spread": "cosine distance",
        "js_words": "bits",
        "js_word_pairs": "bits",
        "accuracy": "share of checked",
        "nll_untrained": "nats per token",
        "nll_current": "nats per token",
        "nll_human": "nats per token",
        "divergence": "nats per token",
    }
)
"""Unit of each measure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One measure of one set.

    Attributes:
        subject: Whose text it is about, as the caller says.
        name: Name of the set.
        baseline: Name of the set it is compared with; None for the baseline itself.
        measure: Such as `distinct_2` or `share:TEACHER`.
        unit: Unit of value and change.
        value: With its 95 % interval over instructions.
        texts: How many texts it rests on.
        change: Against the baseline; None for the baseline, and for measures that are a distance
            to the baseline already.
        noise: For a divergence: its 95th percentile where each text's set is a coin toss (within
            an instruction that both sets answer). Below it there is no drift to see.
    """

    subject: str
    name: str
    baseline: str | None
    measure: str
    unit: str
    value: Estimate
    texts: int
    change: Estimate | None = None
    noise: float | None = None


def lines_to_table(lines: Sequence[Line]) -> pa.Table:
    """Table of the DRIFT schema, in the order given."""
    return pa.Table.from_pylist([line_to_row(line) for line in lines], schema=DRIFT)


def line_to_row(line: Line) -> dict[str, str | float | int | None]:
    """Row of the DRIFT schema."""
    change = line.change
    return {
        "subject": line.subject,
        "name": line.name,
        "baseline": line.baseline,
        "measure": line.measure,
        "unit": line.unit,
        "value": line.value.value,
        "low": line.value.low,
        "high": line.value.high,
        "change": change.value if change else None,
        "change_low": change.low if change else None,
        "change_high": change.high if change else None,
        "noise": line.noise,
        "texts": line.texts,
    }


def lines_from_table(table: pa.Table) -> tuple[Line, ...]:
    """Lines from a table of the DRIFT schema."""
    return tuple(_line_from_row(row) for row in table.select(DRIFT.names).to_pylist())


def _line_from_row(row: Mapping[str, Any]) -> Line:
    plain = ("subject", "name", "baseline", "measure", "unit", "texts", "noise")
    change = None
    if row["change"] is not None:
        change = Estimate(value=row["change"], low=row["change_low"], high=row["change_high"])
    return Line(
        value=Estimate(value=row["value"], low=row["low"], high=row["high"]),
        change=change,
        **{name: row[name] for name in plain},
    )


# ----------------------------------------------------------------------------------------------
# Measure.
# ----------------------------------------------------------------------------------------------


NOISE_DRAWS = 100
OWN_TEXT = "own"
"""Name of text without a teacher."""


def account(sets: Sequence[TextSet], *, subject: str = "data", seed: int = 0) -> tuple[Line, ...]:
    """Measure sets, and the distance of each from the first.

    Args:
        sets: The baseline first. Texts of two sets with the same key are compared as a pair.
        subject: Whose text it is about.
        seed: Seed of the resampling.

    Returns:
        The lines of the first set, then those of the others. A measure that has no value (no
        vectors, no checked answer) has no line.

    Raises:
        DataError: There is no set, or two have one name.
    """
    names = [one.name for one in sets]
    if not sets or len(set(names)) != len(names):
        raise DataError(f"the sets of an account need names of their own: {names}")
    measuring = _Measuring(sets, seed=seed)
    lines = [
        replace(line, subject=subject)
        for index in range(len(sets))
        for line in measuring.lines(index)
    ]
    return tuple(lines)


def divergence_line(
    *,
    name: str,
    baseline: str,
    keys: Sequence[str],
    current: Sequence[Numbers],
    untrained: Sequence[Numbers],
    seed: int = 0,
) -> Line | None:
    """Divergence of a student from the untrained one; see `log_ratio`.

    Args:
        name: Name of the current student.
        baseline: Name of the untrained student.
        keys: The instruction of each text.
        current: For each text the log-probabilities of its tokens under the current student.
        untrained: Log-probabilities of the same tokens under the untrained student.
        seed: Seed of the resampling.

    Returns:
        None where there is no text.
    """
    if not keys:
        return None
    found = Resampling(keys, seed=seed).bootstrap(partial(log_ratio, current, untrained), keys)
    if found is None:
        return None
    return Line(
        subject="student",
        name=name,
        baseline=baseline,
        measure="divergence",
        unit=UNITS["divergence"],
        value=found.estimate(),
        texts=len(keys),
    )


def number_lines(
    *,
    subject: str,
    measure: str,
    baseline: tuple[str, Mapping[str, float]],
    current: tuple[str, Mapping[str, float]],
    seed: int = 0,
) -> tuple[Line, ...]:
    """Lines of a measure of single items, before and after, such as an evaluation.

    Args:
        subject: Whose items.
        measure: Its name.
        baseline: The name of the baseline, and its numbers by item.
        current: Likewise, of what is compared; items of both are compared in pairs.
        seed: Seed of the resampling.

    Returns:
        The line of the baseline and that of the current, or nothing where one has no number.
    """
    if not baseline[1] or not current[1]:
        return ()
    resampling = Resampling((*baseline[1], *current[1]), seed=seed)
    found = []
    for _, numbers in (baseline, current):
        values = np.array(list(numbers.values()), float)
        found.append(resampling.bootstrap(partial(weighted_mean, values), list(numbers)))
    before, after = found
    if before is None or after is None:
        return ()
    lines = []
    for (name, numbers), one, base in ((baseline, before, None), (current, after, before)):
        value = one.estimate()
        if measure == "accuracy":
            value = wilson(round(one.value * len(numbers)), len(numbers))
        lines.append(
            Line(
                subject=subject,
                name=name,
                baseline=baseline[0] if base else None,
                measure=measure,
                unit=UNITS.get(measure, ""),
                value=value,
                texts=len(numbers),
                change=one.minus(base).estimate() if base else None,
            )
        )
    return tuple(lines)


class _Measuring:
    """Measures over the same bootstrap draws, so that differences are paired."""

    def __init__(self, sets: Sequence[TextSet], *, seed: int) -> None:
        self._sets = sets
        self._seed = seed
        self._resampling = Resampling((key for one in sets for key in one.keys), seed=seed)
        self._words = [np.array([len(words_of(t)) for t in one.texts], float) for one in sets]
        texts = [one.texts for one in sets]
        self._grams = {n: grams_of(texts, n=n) for n in (1, 2, 3)}
        self._runs = {n: float(min(map(len, grams))) for n, grams in self._grams.items()}
        # A text is compressed next to the same neighbours whatever the order of the rows.
        self._order = [sorted(range(len(one.texts)), key=partial(_place, one)) for one in sets]
        self._base: dict[str, Replicates] = {}

    def lines(self, index: int) -> Iterator[Line]:
        """Lines of one set."""
        one = self._sets[index]
        for measure, found, texts in self._measured(index):
            change: Estimate | None = None
            if index == 0:
                self._base[measure] = found
            elif measure in self._base:
                change = found.minus(self._base[measure]).estimate()
            value = found.estimate()
            if measure == "accuracy":
                value = wilson(round(found.value * texts), texts)
            yield self._line(index, measure, value, texts=texts, change=change)
        yield from self._shares(index)
        if index > 0:
            for n, measure in ((1, "js_words"), (2, "js_word_pairs")):
                yield from self._divergence(index, n, measure, texts=len(one.texts))

    def _line(
        self,
        index: int,
        measure: str,
        value: Estimate,
        *,
        texts: int,
        change: Estimate | None = None,
        noise: float | None = None,
    ) -> Line:
        return Line(
            subject="",
            name=self._sets[index].name,
            baseline=self._sets[0].name if index else None,
            measure=measure,
            unit=UNITS.get(measure, "share of text" if measure.startswith("share:") else ""),
            value=value,
            texts=texts,
            change=change,
            noise=noise,
        )

    def _measured(self, index: int) -> Iterator[tuple[str, Replicates, int]]:
        one = self._sets[index]
        columns: dict[str, Numbers] = {"words": self._words[index]}
        for name, values in one.numbers.items():
            columns["accuracy" if name == "right" else name] = np.array(
                [np.nan if value is None else value for value in values], float
            )
        for name, column in columns.items():
            found = self._resampling.bootstrap(partial(weighted_mean, column), one.keys)
            if found is not None:
                yield name, found, int(np.isfinite(column).sum())
        for n, grams in self._grams.items():
            found = self._resampling.jackknife(
                partial(_distinct, grams[index], self._runs[n]), [one.keys]
            )
            if found is not None:
                yield f"distinct_{n}", found, len(one.texts)
        found = self._resampling.jackknife(partial(self._compressed, index), [one.keys])
        if found is not None:
            yield "compression_ratio", found, len(one.texts)
        if one.vectors is not None:
            found = self._resampling.bootstrap(partial(spread, one.vectors), one.keys)
            if found is not None:
                yield "spread", found, len(one.texts)

    def _compressed(self, index: int, masks: list[Numbers]) -> float | None:
        (mask,) = masks
        texts = self._sets[index].texts
        kept = [texts[i] for i in self._order[index] if mask[i] > 0 and texts[i]]
        return compression_ratio(kept) if kept else None

    def _shares(self, index: int) -> Iterator[Line]:
        one = self._sets[index]
        if not one.teachers:
            return
        names = [name or OWN_TEXT for name in one.teachers]
        for teacher in sorted(set(names)):
            found = self._resampling.bootstrap(partial(_share, one.texts, names, teacher), one.keys)
            if found is not None:
                texts = names.count(teacher)
                yield self._line(index, f"share:{teacher}", found.estimate(), texts=texts)

    def _divergence(self, index: int, n: int, measure: str, *, texts: int) -> Iterator[Line]:
        a, b = self._grams[n][0], self._grams[n][index]
        found = self._resampling.jackknife(
            partial(_divergence_of, a, b), [self._sets[0].keys, self._sets[index].keys]
        )
        if found is None:
            return
        places = [self._resampling.places(self._sets[i].keys) for i in (0, index)]
        noise = divergence_noise(a, b, places[0], places[1], seed=self._seed)
        yield self._line(index, measure, found.estimate(), texts=texts, noise=noise)


def divergence_noise(
    a: Grams, b: Grams, places_a: Codes, places_b: Codes, *, seed: int
) -> float | None:
    """95th percentile of the divergence between random splits of the texts.

    Where each set answers an instruction exactly once, a coin decides whether the two answers
    trade places; all other texts are dealt out anew as one pack.

    Args:
        a: The runs of one set.
        b: The runs of the other.
        places_a: The instruction of each text of the one set.
        places_b: The same for the other set.
        seed: Seed of the draws.
    """
    pooled = np.concatenate([places_a, places_b])
    first = np.arange(len(pooled)) < len(places_a)
    times_a = np.bincount(places_a, minlength=int(pooled.max()) + 1)
    times_b = np.bincount(places_b, minlength=int(pooled.max()) + 1)
    paired = ((times_a == 1) & (times_b == 1))[pooled]
    generator = np.random.default_rng(seed)
    codes = np.concatenate([a.codes_R, b.codes_R])
    owners = np.concatenate([a.texts_R, b.texts_R + len(places_a)])
    found = []
    for _ in range(NOISE_DRAWS):
        swap = generator.integers(0, 2, size=int(pooled.max()) + 1).astype(bool)
        in_first = first ^ (swap[pooled] & paired)
        loose = np.flatnonzero(~paired)
        in_first[loose] = first[loose][generator.permutation(len(loose))]
        counts = [
            np.bincount(codes[side[owners]], minlength=a.vocabulary).astype(np.float64)
            for side in (in_first, ~in_first)
        ]
        divergence = jensen_shannon(counts[0], counts[1])
        if divergence is not None:
            found.append(divergence)
    return float(np.quantile(found, 0.95)) if found else None


def _distinct(grams: Grams, runs: float, masks: list[Numbers]) -> float | None:
    return distinct(counts_of(grams, masks[0]), runs=runs)


def _divergence_of(a: Grams, b: Grams, masks: list[Numbers]) -> float | None:
    return jensen_shannon(counts_of(a, masks[0]), counts_of(b, masks[1]))


def _share(
    texts: Sequence[str], names: Sequence[str], teacher: str, weights: Numbers
) -> float | None:
    return share_by_teacher(texts, names, weights).get(teacher)


def _place(one: TextSet, index: int) -> tuple[str, str]:
    return one.keys[index], one.texts[index]
