"""Predictors of how well the texts of a teacher or source teach."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

import numpy as np

from tutelage.errors import SettingsError
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
