"""What there is to know about a metric, and what one is made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tutelage.data import Reading, TokenStats, ViewName
from tutelage.errors import DataError

Better: TypeAlias = Literal["higher", "lower", "neither"]
Level: TypeAlias = Literal["pair", "candidate", "pool", "set"]
Statistics: TypeAlias = Literal["nll", "ranks", "full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a metric of one candidate may be made of.

    Attributes:
        reading: The candidate as the student read it.
        response: The text of the response, for metrics that look for steps in it.
        steps: One reading for each view of `step_views`, for `lalp`.
    """

    reading: Reading
    response: str | None = None
    steps: Sequence[TokenStats] | None = None

    def view(self, name: ViewName) -> TokenStats:
        """One view of the reading.

        Raises:
            DataError: It was not read.
        """
        if name not in self.reading.views:
            raise DataError(
                f"candidate {self.reading.candidate_id}: the view {name!r} was not read",
                hint="ask the student for the views that `tutelage.metrics.views_for` names",
            )
        return self.reading.views[name]

    @property
    def answer(self) -> TokenStats:
        """The response as read after the instruction."""
        return self.view("response_given_instruction")

    @property
    def text(self) -> str:
        """The response's text.

        Raises:
            DataError: It was not given.
        """
        if self.response is None:
            raise DataError(
                f"candidate {self.reading.candidate_id}: a metric of steps needs the response",
                hint="pass response=... where `tutelage.metrics.needs_text` says so",
            )
        return self.response


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSpec:
    """What there is to know about a metric.

    Attributes:
        name: As in `--metrics` and as the column of the scores table.
        summary: One sentence for people.
        formula: In plain text; L(y|x) is the mean loss of y after x in nats per token.
        better: Which direction is better; `neither` where that depends on the use.
        level: What the number belongs to: a `pair` of instruction and response, a `candidate` among
            those of its instruction, a whole `pool` of candidates at once, or a `set`.
        valid_range: The smallest and the largest value it can have.
        ceiling: A pair at or above this is mismatched, or None where there is no such line.
        views: The views of one candidate that it is made of.
        statistics: `nll` where log-probabilities are enough, `ranks` where ranks are needed too,
            `full` where the whole distribution is.
        needs: What else it is made of, for people; empty for one reading alone.
        made_of: The other metrics it is computed from.
        source: The paper, the equation and its arXiv number.
        deviation: Where ours differs from the source; empty where it does not.
        compute: From the material of one candidate; None where one candidate is not enough.
    """

    name: str
    summary: str
    formula: str
    better: Better
    level: Level
    valid_range: tuple[float, float]
    ceiling: float | None = None
    views: tuple[ViewName, ...] = ("response_given_instruction",)
    statistics: Statistics = "nll"
    needs: str = ""
    made_of: tuple[str, ...] = ()
    source: str
    deviation: str = ""
    compute: Callable[[Material], float | None] | None = None
