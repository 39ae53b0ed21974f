"""Summary of a run: the numbers and texts of its report, without layout."""

import math
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Group: TypeAlias = Literal["original", "refinement", "chosen"]
GROUPS: tuple[Group, ...] = ("original", "refinement", "chosen")

CHOSEN = "chosen"
"""Name of the student's own selection among the compared sets."""

Kind: TypeAlias = Literal["kept_refined", "kept_original", "scored", "refused", "lost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowPath:
    """Number of input rows with the same path through the run.

    Attributes:
        reading: What reading the row gave: `example`, or why the row ended there.
        writing: What the teacher gave for the example; None where the row ended before.
        deciding: The step that was kept, or the reason that nothing was.
        kind: How it ended, for colour: `lost` is a row that no rule ever looked at.
        rows: Input rows, at least 1.
    """

    reading: str
    writing: str | None
    deciding: str | None
    kind: Kind
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """All paths from the input to the outcome. The rows of all paths add up to the input."""

    paths: tuple[FlowPath, ...] = ()

    def rows(self, *kinds: Kind) -> int:
        """Input rows that ended in one of these ways; all rows without an argument."""
        return sum(p.rows for p in self.paths if not kinds or p.kind in kinds)

    @property
    def examples(self) -> int:
        """Rows that became a new example."""
        return sum(p.rows for p in self.paths if p.writing is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Distribution of one metric in one group of candidates; unscored ones are left out.

    Attributes:
        metric: Its name, as in the scores table.
        group: Whose numbers.
        candidates: How many have a number; 0 leaves all else at None.
        mean: Arithmetic mean, in the unit of the metric.
        quantiles: At 0.05, 0.25, 0.5, 0.75 and 0.95; empty where there is no number.
        counts: Candidates in each bin of the metric's axis.
        beyond: Candidates outside the axis on either side.
    """

    metric: str
    group: Group
    candidates: int = 0
    mean: float | None = None
    quantiles: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    beyond: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Axis of one metric: bins of equal width from low to high, closed on the left."""

    metric: str
    low: float
    high: float
    bins: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One candidate in the plane of ifd and r_ifd."""

    ifd: float
    r_ifd: float
    group: Group
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Number of candidates of a group in one quarter of the plane.

    Attributes:
        group: original or refinement.
        ifd_below: Whether ifd < 1.
        r_ifd_below: Whether r_ifd < 1.
        candidates: Number of candidates in the region.
        chosen: Of these, how many were chosen.
    """

    group: Group
    ifd_below: bool
    r_ifd_below: bool
    candidates: int
    chosen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """Candidates in the plane of the srt rule, with its two caps.

    Attributes:
        points: A sample that is the same on every machine.
        regions: Counts over all candidates, not the sample.
    """

    points: tuple[Point, ...]
    regions: tuple[Region, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthBin:
    """Candidates of a group with responses of about the same length.

    Attributes:
        tokens: Median length of their responses, in tokens of the student.
        low: First quartile of the metric.
        middle: Median of the metric.
        high: Third quartile of the metric.
        candidates: How many there are.
    """

    group: Group
    tokens: float
    low: float
    middle: float
    high: float
    candidates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """Spearman's rank correlation of two columns, in [-1, 1]; None where it is undefined."""

    a: str
    b: str
    spearman: float | None
    candidates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTally:
    """Outcome of the examples of one source (None for rows without a source)."""

    source: str | None
    examples: int
    kept_original: int
    kept_refined: int
    means: tuple[float | None, ...] = ()

    @property
    def kept(self) -> int:
        """Examples with a kept version."""
        return self.kept_original + self.kept_refined


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherTally:
    """Outcome of the candidates of one teacher and step.

    Attributes:
        teacher: Its name, or None where the data does not say who wrote them.
        step: How the candidates came to be.
        candidates: All that were asked for.
        written: Of these, with a usable text.
        scored: Of these, with numbers.
        chosen: Of these, kept by the rule.
        means: One for each metric, over the scored ones.
    """

    teacher: str | None
    step: str
    candidates: int
    written: int
    scored: int
    chosen: int
    means: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """Mean over a set with its confidence interval.

    Attributes:
        value: The mean; over several seeds, the mean of their means.
        low: Lower end of the 95 % interval of the mean (normal approximation).
        high: Upper end.
    """

    value: float
    low: float
    high: float

    def differs_from(self, other: "Mean") -> bool:
        """Whether the 95 % interval of the difference of two means excludes 0.

        The two sets are treated as independent; if they share candidates, the true interval is
        narrower.
        """
        halves = math.hypot(self.high - self.value, other.high - other.value)
        return abs(self.value - other.value) > halves


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTally:
    """Means of the selection or of a baseline of the same size.

    Attributes:
        name: `chosen`, or the name of the null.
        seeds: How many sets it represents; sizes and means are then averages over them.
        size: Candidates in it: the examples kept, or more where a rule keeps several of each.
        refined_fraction: Share of refinements and samples in it, in [0, 1].
        tokens: Mean length of the responses that were scored.
        means: One for each metric, None where no candidate of the set has a number.
        unscored: Candidates of the set without numbers; they are in `size` but in no mean.
    """

    name: str
    seeds: int
    size: float
    refined_fraction: float | None
    tokens: Mean | None
    means: tuple[Mean | None, ...]
    unscored: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Reason for which rows or candidates have no text or no number, with its count.

    Attributes:
        stage: `read`, `refine` or `score`.
        step: Step of the candidates; None for rows.
        reason: The status, in snake_case.
        count: How many.
        detail: What was noted for one of them, if anything.
    """

    stage: Literal["read", "refine", "score"]
    step: str | None
    reason: str
    count: int
    detail: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Instruction and response of a candidate."""

    instruction: str
    response: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """A rewrite with the original from which it was made.

    Attributes:
        example_id: The example.
        row: The 0-based input row it came from, if known.
        source: As the user named it.
        step: How the refinement came to be.
        teacher: The teacher that wrote it.
        reason: The reason of the decision about its example, or None.
        clearness: By how much the refinement passes (positive) or fails (negative) the
            comparison that is hardest on it, in units of that metric.
        before: The original's text, or None where the example has none.
        after: The refinement's text.
        numbers: For each metric its name and the two values.
    """

    example_id: str
    row: int | None
    source: str | None
    step: str
    teacher: str | None
    reason: str | None
    clearness: float
    before: Text | None
    after: Text
    numbers: tuple[tuple[str, float | None, float | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Time, calls and cost of the run.

    Attributes:
        seconds: By stage, in the order of the manifest.
        teacher: What a teacher's tally says, by name; empty where no teacher was asked.
        cost: What was paid in all, or None where no prices were given.
        currency: Currency of the cost.
    """

    seconds: tuple[tuple[str, float], ...] = ()
    teacher: tuple[tuple[str, str | int | float], ...] = ()
    cost: float | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Everything that a report shows.

    Attributes:
        title: The name of the run.
        student: The model's name, or its fingerprint where the manifest names none.
        fingerprint: Fingerprint of the student whose scores are shown.
        other_students: Fingerprints of students that have scores too.
        teachers: Names, in the order of the alphabet.
        rule: The rule that decided, or None where nothing was decided.
        metrics: Columns of the scores table that hold numbers, in its order.
        sampled: How many candidates the correlations and length bins rest on.
        scored: How many candidates have numbers.
    """

    title: str
    student: str | None
    fingerprint: str | None
    other_students: tuple[str, ...] = ()
    teachers: tuple[str, ...] = ()
    rule: str | None = None
    metrics: tuple[str, ...] = ()
    scored: int = 0
    sampled: int = 0
    flow: Flow = field(default_factory=Flow)
    axes: tuple[Axis, ...] = ()
    spreads: tuple[Spread, ...] = ()
    plane: Plane | None = None
    lengths: tuple[tuple[str, tuple[LengthBin, ...]], ...] = ()
    correlations: tuple[Correlation, ...] = ()
    sources: tuple[SourceTally, ...] = ()
    written: tuple[TeacherTally, ...] = ()
    sets: tuple[SetTally, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    accepted: tuple[Refinement, ...] = ()
    refused: tuple[Refinement, ...] = ()
    account: Account = field(default_factory=Account)
    provenance: tuple[tuple[str, str], ...] = ()

    @property
    def kept(self) -> int:
        """Examples with a kept version."""
        return self.flow.rows("kept_refined", "kept_original")
