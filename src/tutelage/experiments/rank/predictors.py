"""Predictors of how well the texts of a teacher or source teach, and the grid of their values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.errors import DataError, SettingsError
from tutelage.stats.intervals import Numbers

Better: TypeAlias = Literal["higher", "lower", "neither"]
Kind: TypeAlias = Literal["mean", "ratio", "adjusted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    """A number of a whole set that may predict how well it teaches.

    Attributes:
        name: In tables.
        summary: One sentence for people.
        better: Which direction its source claims to be better; `neither` ranks from high to low
            and claims nothing.
        columns: Numbers of one answer that it is made of. Answers of one question are averaged
            first, so that every question counts once.
        kind: From the means of the columns: `mean` is the mean, `ratio` the first over the
            second, `adjusted` the first / (1 + weight * the second).
        weight: Weight of the second mean in `adjusted`, at least 0.
        source: The paper.
    """

    name: str
    summary: str
    better: Better
    columns: tuple[str, ...]
    kind: Kind = "mean"
    weight: float = 1.0
    source: str = ""

    def of_means(self, means: Sequence[Numbers]) -> Numbers:
        """Predictor from the means of its columns (any common shape); NaN where it is undefined."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found = means[0]
            if self.kind == "ratio":
                found = means[0] / means[1]
            elif self.kind == "adjusted":
                found = means[0] / (1 + self.weight * means[1])
        value: Numbers = np.where(np.isfinite(found), found, np.nan)
        return value

    def slopes(self, means: Sequence[float]) -> tuple[float, ...]:
        """Partial derivatives by each mean, which give the influence of one question."""
        match self.kind:
            case "mean":
                return (1.0,)
            case "ratio":
                return (1 / means[1], -means[0] / means[1] ** 2)
            case "adjusted":
                below = 1 + self.weight * means[1]
                return (1 / below, -self.weight * means[0] / below**2)

    @property
    def sign(self) -> float:
        """Factor -1 where lower is better, else 1, so that higher is always better."""
        return -1.0 if self.better == "lower" else 1.0


def car_predictor(*, beta: float) -> Predictor:
    """Predictor CAR with a given weight: mean reward / (1 + beta * mean surprisal).

    Rewards must be at least 0; shift or squash a reward model's logits first.
    """
    return Predictor(
        name="car",
        summary=f"Mean reward over 1 + {beta:g} x mean surprisal.",
        better="higher",
        columns=("reward", "mean_surprisal"),
        kind="adjusted",
        weight=beta,
        source="CAR (arXiv 2411.07133); its weight could not be confirmed",
    )


_ALL = (
    Predictor(
        name="rsr",
        summary="Mean rank over mean surprisal of the set: informative, yet among the student's "
        "first choices.",
        better="lower",
        columns=("mean_rank", "mean_surprisal"),
        kind="ratio",
        source="Rank-Surprisal Ratio, dataset level (arXiv 2601.14249)",
    ),
    Predictor(
        name="ifd",
        summary="How little the instruction helps the student to predict the responses.",
        better="higher",
        columns=("ifd",),
        source="Selective Reflection-Tuning (arXiv 2402.10110); as a score of teachers: CAR "
        "(arXiv 2411.07133)",
    ),
    Predictor(
        name="r_ifd",
        summary="How little the response helps the student to guess the instruction.",
        better="lower",
        columns=("r_ifd",),
        source="Selective Reflection-Tuning (arXiv 2402.10110)",
    ),
    Predictor(
        name="likelihood",
        summary="Mean log-probability of the responses, nats per token.",
        better="higher",
        columns=("grape",),
        source="GRAPE (arXiv 2502.04194), over a set",
    ),
    Predictor(
        name="mean_rank",
        summary="Mean clipped rank of the responses' tokens.",
        better="lower",
        columns=("mean_rank",),
        source="an ablation of Rank-Surprisal Ratio (arXiv 2601.14249)",
    ),
    Predictor(
        name="length",
        summary="Mean length of the responses in tokens of the student.",
        better="neither",
        columns=("response_tokens",),
    ),
    Predictor(
        name="accuracy",
        summary="Share of checked responses that are right.",
        better="higher",
        columns=("right",),
    ),
    Predictor(
        name="reward",
        summary="Mean of the given quality or reward.",
        better="higher",
        columns=("reward",),
    ),
    Predictor(
        name="style_distance",
        summary="How far the responses' style is from the student's own answers, in standard "
        "deviations per feature.",
        better="lower",
        columns=("style_distance",),
        source="ours",
    ),
)
PREDICTORS: Mapping[str, Predictor] = MappingProxyType({p.name: p for p in _ALL})
"""Predictors without settings, by name."""


def predictors_for(columns: Iterable[str], *, beta: float = 1.0) -> tuple[Predictor, ...]:
    """Predictors that can be computed from these columns.

    Args:
        columns: Columns of a table of answers.
        beta: The weight of CAR, at least 0.

    Raises:
        SettingsError: The weight is negative.
    """
    if not beta >= 0:
        raise SettingsError(f"the weight of CAR is {beta}, it must be at least 0")
    there = set(columns)
    return tuple(p for p in (*_ALL, car_predictor(beta=beta)) if there.issuperset(p.columns))


KEYS = ("question", "entrant")
DOMAIN = "domain"
ALL = "all"
"""Domain that covers all questions."""

Places: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Numbers of answers, E entrants by Q questions.

    Attributes:
        entrants: Their names, sorted.
        questions: Their ids, sorted.
        domains: Domains of each question; empty text where it has none.
        numbers: By column, float64 E by Q: the mean over a question's answers, NaN where the
            entrant has no answer with a number.
        answered: Answers by entrant, with or without numbers.
    """

    entrants: tuple[str, ...]
    questions: tuple[str, ...]
    domains: tuple[str, ...]
    numbers: Mapping[str, Numbers]
    answered: Places

    def grid(self, predictor: Predictor) -> tuple[list[Numbers], Flags]:
        """Columns of a predictor, and a mask of where all of them exist; 0 elsewhere."""
        raw = [self.numbers[name] for name in predictor.columns]
        there = np.logical_and.reduce([np.isfinite(values) for values in raw])
        return [np.where(there, values, 0.0) for values in raw], there

    def only(self, keep_Q: Flags) -> "Cells":
        """Same entrants over some of the questions."""
        places = np.flatnonzero(keep_Q)
        return Cells(
            entrants=self.entrants,
            questions=tuple(self.questions[i] for i in places),
            domains=tuple(self.domains[i] for i in places),
            numbers={name: values[:, places] for name, values in self.numbers.items()},
            answered=self.answered,
        )


def cells_of(answers: pa.Table, *, columns: Sequence[str]) -> Cells:
    """Grid of a table of answers; the order of rows and columns does not matter.

    Args:
        answers: One row an answer, with `question`, `entrant`, perhaps `domain`, and numbers,
            null where an answer has none.
        columns: Which numbers.

    Raises:
        DataError: There is no answer, or a column is missing.
    """
    missing = [n for n in (*KEYS, *columns) if n not in answers.column_names]
    if missing:
        raise DataError(
            f"the answers have no column {missing[0]!r}",
            hint=f"they have {', '.join(answers.column_names)}",
        )
    if not answers.num_rows:
        raise DataError("there is no answer to rank by", hint="is the pool empty?")
    questions, q_of = _numbered(answers["question"])
    entrants, e_of = _numbered(answers["entrant"])
    shape = (len(entrants), len(questions))
    numbers = {
        name: _means(answers[name].cast(pa.float64()).to_numpy(), e_of, q_of, shape)
        for name in columns
    }
    domains = [""] * len(questions)
    if DOMAIN in answers.column_names:
        for place, domain in zip(q_of.tolist(), answers[DOMAIN].to_pylist(), strict=True):
            domains[place] = domain or ""
    return Cells(
        entrants=entrants,
        questions=questions,
        domains=tuple(domains),
        numbers=numbers,
        answered=np.bincount(e_of, minlength=len(entrants)),
    )


def _numbered(column: Any) -> tuple[tuple[str, ...], Places]:
    values = [str(value) for value in column.to_pylist()]
    names = sorted(set(values))
    place = {name: index for index, name in enumerate(names)}
    return tuple(names), np.array([place[value] for value in values], dtype=np.int64)


def _means(values: Numbers, e_of: Places, q_of: Places, shape: tuple[int, int]) -> Numbers:
    there = np.isfinite(values)
    flat = e_of[there] * shape[1] + q_of[there]
    size = shape[0] * shape[1]
    # Sorted, so that the sum of several answers does not depend on the order of rows.
    order = np.lexsort((values[there], flat))
    sums = np.bincount(flat[order], weights=values[there][order], minlength=size)
    counts = np.bincount(flat, minlength=size)
    with np.errstate(invalid="ignore"):
        means: Numbers = np.where(counts > 0, sums / counts, np.nan).reshape(shape)
    return means
