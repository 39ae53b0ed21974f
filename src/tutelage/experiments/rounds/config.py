"""Settings of a loop of rounds: those of a run, and those of the repeated steps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tutelage.evaluation import EvaluateSettings, TaskSettings, evaluate_student
from tutelage.experiments.drift.measure import Line
from tutelage.filters import EmbedderSettings
from tutelage.pipeline.config import DataSettings, RunSettings, checked, file_values
from tutelage.pipeline.resources import Doors
from tutelage.pipeline.student_attempts import AttemptSettings, own_teacher
from tutelage.progress import Progress
from tutelage.selection import SelectSettings
from tutelage.student import StudentSettings
from tutelage.teacher import TeacherSettings
from tutelage.training import TrainSettings, train_student
from tutelage.verification import VerifySettings

# ----------------------------------------------------------------------------------------------
# Bounds that are set before a loop starts, and when a loop should stop.
# ----------------------------------------------------------------------------------------------


Of: TypeAlias = Literal["value", "change", "ratio"]

NO_FLIPS = "nothing_flips"
NO_GAIN = "no_gain_beyond_noise"
NOTHING_CHOSEN = "nothing_chosen"
GUARD_BROKEN = "guard_broken"
ROUNDS_DONE = "rounds_done"


class Limit(BaseModel):
    """One limit on one measure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subject: str = Field(description="What is measured: data, student or held_out.")
    measure: str = Field(description="A measure of drift.parquet, such as distinct_2.")
    of: Of = Field(
        default="value",
        description="The limited quantity: the value, its change from the baseline, or its "
        "ratio to the baseline.",
    )
    low: float | None = Field(default=None, allow_inf_nan=False)
    high: float | None = Field(default=None, allow_inf_nan=False)
    surely: bool = Field(
        default=False,
        description="Exceeded only if the whole 95 % interval is beyond the limit.",
    )

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError(f"the limit on {self.measure} needs low or high")
        return self


DEFAULT_LIMITS: tuple[Limit, ...] = (
    Limit(subject="student", measure="words", of="ratio", low=0.5, high=2.0),
    Limit(subject="student", measure="distinct_2", of="ratio", low=0.7),
    Limit(subject="student", measure="compression_ratio", of="ratio", high=1.5),
    Limit(subject="student", measure="divergence", of="value", high=0.5),
    Limit(subject="held_out", measure="nll_human", of="change", high=0.2),
    Limit(subject="held_out", measure="accuracy", of="change", low=-0.05, surely=True),
)
"""Default limits of a round: half or twice the length, a third of the variety, half a nat of
divergence, 0.2 nats of human text, five points of accuracy if significant.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """Result of checking one limit.

    Attributes:
        limit: The limit.
        verdict: `kept`, `broken`, or `not_measured` where the account has no such line.
        found: The number that was held against it, or None.
    """

    limit: Limit
    verdict: Literal["kept", "broken", "not_measured"]
    found: float | None = None

    def in_words(self) -> str:
        """Description of the result in words."""
        limit = self.limit
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (("at least", limit.low), ("at most", limit.high))
            if bound is not None
        ]
        of = "" if limit.of == "value" else f" ({limit.of} against the baseline)"
        said = f"{limit.subject} {limit.measure}{of}: {' and '.join(bounds)}"
        if self.found is None:
            return f"{said}; not measured"
        return f"{said}; found {self.found:.3g}: {self.verdict}"


def check_guard(lines: Sequence[Line], limits: Sequence[Limit]) -> tuple[Checked, ...]:
    """Check the drift of a round against the limits.

    Args:
        lines: Lines of one round, of all subjects; baselines have no baseline of their own and are
            left aside.
        limits: The guard.

    Returns:
        One outcome for each limit, in their order.
    """
    compared = {(line.subject, line.measure): line for line in lines if line.baseline is not None}
    return tuple(_check(limit, compared.get((limit.subject, limit.measure))) for limit in limits)


def _check(limit: Limit, line: Line | None) -> Checked:
    found = None if line is None else _number(limit, line)
    if found is None:
        return Checked(limit=limit, verdict="not_measured")
    number, low, high = found
    # Surely beyond the upper bound means that even the lower end of the interval is.
    at_least, at_most = (high, low) if limit.surely else (number, number)
    broken = (limit.low is not None and at_least < limit.low) or (
        limit.high is not None and at_most > limit.high
    )
    return Checked(limit=limit, verdict="broken" if broken else "kept", found=number)


def _number(limit: Limit, line: Line) -> tuple[float, float, float] | None:
    estimate = line.value if limit.of == "value" else line.change
    if estimate is None:
        return None
    low = estimate.value if estimate.low is None else estimate.low
    high = estimate.value if estimate.high is None else estimate.high
    if limit.of != "ratio":
        return estimate.value, low, high
    before = line.value.value - estimate.value
    if before == 0:
        return None
    ends = sorted(1 + end / before for end in (low, high))
    return line.value.value / before, ends[0], ends[1]


class StopSettings(BaseModel):
    """Rule by which a loop ends before its rounds are used up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_flip_fraction: float = Field(
        default=0.01,
        ge=0.0,
        le=1.0,
        description="Stop when less than this share of the decisions changes from one round to "
        "the next.",
    )
    patience: int = Field(
        default=2,
        ge=1,
        description="Stop when held-out accuracy is not significantly (95 %) above that of the "
        "student this many rounds before; ignored where accuracy is not measured.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundOutcome:
    """Result of a round as the stop rule uses it.

    Attributes:
        flip_fraction: Share of decisions that changed against the round before, in [0, 1]; None
            in the first round.
        gained: Whether held-out accuracy is surely above that of the student `patience` rounds
            before; None where it is not measured, or there are not so many.
    """

    flip_fraction: float | None
    gained: bool | None


def stop_reason(outcomes: Sequence[RoundOutcome], settings: StopSettings) -> str | None:
    """Reason for ending a loop after these rounds, or None.

    Args:
        outcomes: Outcomes of the accepted rounds so far, in order.
        settings: The rule.
    """
    if not outcomes:
        return None
    last = outcomes[-1].flip_fraction
    if last is not None and last < settings.min_flip_fraction:
        return NO_FLIPS
    return NO_GAIN if outcomes[-1].gained is False else None


# ----------------------------------------------------------------------------------------------
# Config.
# ----------------------------------------------------------------------------------------------


LoopName: TypeAlias = Literal["gate", "no_gate", "random", "self_teaching"]
LOOPS: tuple[LoopName, ...] = ("gate", "no_gate", "random", "self_teaching")
"""Loops in the order in which they are run: the random choice has the size of the gate's."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class HeldOutSettings(_Settings):
    """Settings of the held-out items by which every student is measured."""

    tasks: tuple[TaskSettings, ...] = Field(
        default=(),
        description="Tasks of the evaluation. The first one with right and wrong answers gives "
        "the accuracy, the first one of kind held_out the likelihood of human text.",
    )
    instructions: DataSettings | None = Field(
        default=None,
        description="Instructions that each student answers, to measure how it writes.",
    )
    answers: AttemptSettings = Field(
        default_factory=lambda: AttemptSettings(
            sampled=1, greedy=0, temperature=1.0, max_tokens=96
        ),
        description="At temperature 1 and top_p 1 the divergence is estimated without bias.",
    )
    evaluate: EvaluateSettings = Field(default_factory=EvaluateSettings)


class RewriteSettings(_Settings):
    """Settings of rewriting what a student rejected."""

    attempts: int = Field(
        default=0,
        ge=0,
        le=10,
        description="How often an example may be rewritten in a round; 0: never.",
    )
    what: Literal["examples", "refinements"] = Field(
        default="refinements",
        description="examples: those without a chosen version. refinements: also those whose "
        "rewrite lost to the original.",
    )
    show_attempt: bool = Field(
        default=True, description="Show the teacher the student's own attempt where it helps."
    )
    max_examples: int | None = Field(
        default=None,
        ge=1,
        description="Maximum number of examples per round, sampled by their ids.",
    )
    teacher: TeacherSettings | None = Field(
        default=None,
        description="The teacher that rewrites; by default the run's teacher. With one here and "
        "none there, rewrites that came with the data are used as they are.",
    )


class RoundsSettings(RunSettings):
    """Settings of a loop of rounds."""

    rounds: int = Field(default=3, ge=1, description="Number of training runs in a loop.")
    loops: tuple[LoopName, ...] = Field(
        default=("gate",), min_length=1, description=f"Loops to run, of {', '.join(LOOPS)}."
    )
    seeds: tuple[int, ...] = Field(
        default=(0,), min_length=1, description="Seeds; each loop is run once with each."
    )
    start_from: Literal["current", "untrained"] = Field(
        default="current", description="The student from which each training starts."
    )
    train: TrainSettings = Field(default_factory=TrainSettings)
    held_out: HeldOutSettings = Field(default_factory=HeldOutSettings)
    rewrite: RewriteSettings = Field(default_factory=RewriteSettings)
    check: VerifySettings | None = Field(
        default=None, description="Check candidates against references, for the correctness gate."
    )
    guard: tuple[Limit, ...] = Field(
        default=DEFAULT_LIMITS, description="Limits on the drift of a round; see rounds.md."
    )
    guarded: tuple[LoopName, ...] = Field(
        default=("gate",),
        description="Loops that the limits and the stop rule may end; the others run all their "
        "rounds, and the report lists the limits that they exceed.",
    )
    stop: StopSettings = Field(default_factory=StopSettings)
    no_gate: SelectSettings = Field(
        default_factory=lambda: SelectSettings(rule="all_refined", gate="off"),
        description="Selection of the loop without the gate.",
    )
    random: SelectSettings = Field(
        default_factory=lambda: SelectSettings(rule="random", gate="off"),
        description="Random selection, of as many versions as the gate kept in that round.",
    )
    own_answers: AttemptSettings = Field(
        default_factory=lambda: AttemptSettings(
            sampled=1, greedy=0, temperature=0.7, max_tokens=256
        ),
        description="self_teaching: settings of the student's answer to each instruction.",
    )
    embedder: EmbedderSettings | None = Field(
        default=None, description="Embedder for the spread of texts, as in docs/filters.md."
    )
    batch: int = Field(default=16, ge=1, description="Answers generated at once in this process.")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for name in ("loops", "seeds"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{name} contains a name twice")
        if self.rewrite.attempts and self.rewriter is None:
            raise ValueError("rewrite.attempts needs `teacher` or `rewrite.teacher`")
        return self

    @property
    def rewriter(self) -> TeacherSettings | None:
        """Teacher that rewrites what was rejected."""
        return self.rewrite.teacher or self.teacher


def load_rounds_settings(
    path: Path, *, overrides: Mapping[str, Any] | None = None
) -> RoundsSettings:
    """Read the YAML file of a loop of rounds.

    Raises:
        SettingsError: The file cannot be read, or some settings are wrong: all of them are named.
    """
    return checked(RoundsSettings, file_values(path, overrides=overrides), place=str(path))


def train_with(
    rows: Path, model: str, settings: TrainSettings, out: Path, progress: Progress
) -> Mapping[str, Any]:
    """Train a student; the returned mapping holds its `path` and the training's numbers.

    Args:
        rows: File of training rows.
        model: The student.
        settings: Settings of the training.
        out: The folder to write.
        progress: Gets the progress.
    """
    done = train_student(rows, model=model, settings=settings, out=out, progress=progress)
    names = ("path", "steps", "rows", "tokens", "loss_tokens", "first_loss", "last_loss", "seconds")
    return {name: getattr(done, name) for name in names}


def evaluate_with(
    model: str,
    tasks: Sequence[TaskSettings],
    settings: EvaluateSettings,
    out: Path,
    progress: Progress,
) -> pa.Table:
    """Evaluate a student: rows of the evaluation's RESULTS schema.

    Args:
        model: The student.
        tasks: The tasks.
        settings: Settings of the evaluation.
        out: The folder to write.
        progress: Gets the progress.
    """
    return evaluate_student(model, tasks, settings, out, progress=progress)


def as_teacher_with(student: StudentSettings, batch: int) -> TeacherSettings:
    """Student as a teacher in this process."""
    return own_teacher(student, batch=batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundDoors:
    """Factories of the models that rounds use, which tests replace by fakes.

    Attributes:
        doors: Those of an ordinary run.
        train: From a file of rows, a student, settings and a folder to the trained student's path.
        evaluate: From a student, tasks, settings and a folder to rows of the RESULTS schema.
        as_teacher: From a student to the settings under which it is asked.
    """

    doors: Doors = field(default_factory=Doors)
    train: Callable[[Path, str, TrainSettings, Path, Progress], Mapping[str, Any]] = train_with
    evaluate: Callable[
        [str, Sequence[TaskSettings], EvaluateSettings, Path, Progress], pa.Table
    ] = evaluate_with
    as_teacher: Callable[[StudentSettings, int], TeacherSettings] = as_teacher_with
