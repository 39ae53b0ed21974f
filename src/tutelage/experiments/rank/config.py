"""Settings of a ranking of teachers or sources."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tutelage.experiments.rank.answer_pool import PoolFields
from tutelage.experiments.rank.predictors import PREDICTORS
from tutelage.pipeline.config import DataSettings
from tutelage.student import StudentSettings
from tutelage.teacher import TeacherSettings
from tutelage.verification import VerifySettings

CAR = "car"
DEFAULT_PREDICTORS = ("rsr", "ifd", "r_ifd", "likelihood", "length")
METRICS_OF = {
    "rsr": ("mean_rank", "mean_surprisal"),
    "mean_rank": ("mean_rank",),
    CAR: ("mean_surprisal",),
    "ifd": ("ifd",),
    "r_ifd": ("r_ifd",),
    "likelihood": ("grape",),
    "length": ("grape",),
}
"""Statistics that each predictor needs."""

FEWEST_FOR_GRACE = 10
"""Questions of a teacher without which GRACE has no value."""

_GIVES = {
    "reward": "name fields.reward",
    "accuracy": "set check, or name fields.right",
    "style_distance": "set own",
}


class GraceSettings(BaseModel):
    """Settings of the GRACE score."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    questions: int = Field(
        default=64,
        ge=FEWEST_FOR_GRACE,
        description="Questions of each teacher; each needs a backward pass.",
    )
    dimensions: int = Field(
        default=32,
        ge=2,
        description="Dimensions of the projected gradients; fewer than the questions.",
    )


class OwnAnswers(BaseModel):
    """Settings of the student's own answers, for the style distance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: int = Field(default=160, ge=1, description="The most tokens of an answer.")
    batch: int = Field(default=16, ge=1, description="Answers generated at once.")
    asked_through: TeacherSettings | None = Field(
        default=None,
        description="Endpoint that serves the student; by default the model runs in this process.",
    )


class RankSettings(BaseModel):
    """Arguments of `rank_teachers` and `rank_sources`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    data: DataSettings
    student: StudentSettings
    out: str = Field(min_length=1)
    questions: int | None = Field(
        default=200, ge=1, description="Number of questions to sample; per source, for sources."
    )
    predictors: tuple[str, ...] = Field(
        default=DEFAULT_PREDICTORS,
        min_length=1,
        description="Predictors to compute from the student's scores.",
    )
    by: str = Field(default="rsr", description="The predictor that decides the first place.")
    fields: PoolFields = Field(default_factory=PoolFields)
    check: VerifySettings | None = Field(
        default=None, description="How answers are checked against the references."
    )
    car_weight: float = Field(
        default=1.0, ge=0.0, allow_inf_nan=False, description="Weight of the loss in CAR."
    )
    own: OwnAnswers | None = Field(
        default=None, description="Settings of the student's own answers, for style_distance."
    )
    grace: GraceSettings | None = Field(
        default=None, description="Also compute GRACE, which needs a backward pass per answer."
    )
    level: float = Field(
        default=0.95, gt=0.0, lt=1.0, description="Confidence level of all intervals."
    )
    draws: int = Field(default=1000, ge=100, description="Draws of the bootstrap over questions.")
    seed: int = Field(
        default=0, ge=0, description="Seed of the sample of questions and of the bootstrap."
    )
    report: bool = Field(default=True, description="Write report.html and plots.")

    @field_validator("predictors")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in METRICS_OF:
                raise ValueError(f"unknown predictor {name!r}; there are {', '.join(METRICS_OF)}")
        return tuple(dict.fromkeys(names))

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.by not in {*PREDICTORS, CAR}:
            known = ", ".join((*PREDICTORS, CAR))
            raise ValueError(f"by: unknown predictor {self.by!r}; there are {known}")
        if self.check is not None and self.fields.right is not None:
            raise ValueError("give check or fields.right: both say whether an answer is right")
        if self.check is not None and self.check.check == "judge":
            raise ValueError("a judge cannot be used here; verify first, then set fields.right")
        if CAR in (self.by, *self.predictors) and self.fields.reward is None:
            raise ValueError("car needs fields.reward, the quality of each answer")
        given = {
            "reward": self.fields.reward is not None,
            "accuracy": self.check is not None or self.fields.right is not None,
            "style_distance": self.own is not None,
        }
        if not given.get(self.by, True):
            raise ValueError(f"by {self.by}: its values are not available; {_GIVES[self.by]}")
        return self

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that the student must compute."""
        names = list(self.predictors)
        if self.by in METRICS_OF:
            names.append(self.by)
        if self.fields.reward is not None:
            names.append(CAR)
        return tuple(dict.fromkeys(m for name in names for m in METRICS_OF[name]))
