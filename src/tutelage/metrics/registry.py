"""Registry of all metrics by name."""

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

from tutelage.data import VIEW_NAMES, Reading, TokenStats, ViewName
from tutelage.data.extensions import Extension, extensions_of, finite_or_none, when_loaded
from tutelage.errors import DataError, SettingsError
from tutelage.metrics import response

# What there is to know about a metric, and what one is made of.


Better: TypeAlias = Literal["higher", "lower", "neither"]
Level: TypeAlias = Literal["pair", "candidate", "pool", "set"]
Statistics: TypeAlias = Literal["nll", "ranks", "full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Inputs from which a metric of one candidate is computed.

    Attributes:
        reading: The candidate as the student read it.
        response: The text of the response, for metrics that look for steps in it.
        steps: One reading for each view of `step_views`, for `lalp`.
    """

    reading: Reading
    response: str | None = None
    steps: Sequence[TokenStats] | None = None

    def view(self, name: ViewName) -> TokenStats:
        """Token statistics of one view.

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
        """Token statistics of the response after the instruction."""
        return self.view("response_given_instruction")

    @property
    def text(self) -> str:
        """Text of the response.

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
    """Specification of a metric: its meaning, direction, unit and inputs.

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


def _upd(material: Material) -> float:
    vocabulary_tokens = material.reading.vocabulary_tokens
    if vocabulary_tokens is None:
        raise response.missing_statistics("vocabulary size")
    return response.upd(
        response_given_instruction=material.answer, vocabulary_tokens=vocabulary_tokens
    )


def _lalp(material: Material) -> float:
    if material.steps is None:
        raise response.missing_statistics("readings of its steps")
    return response.lalp(material.steps)


_RESPONSE_VIEWS: tuple[ViewName, ...] = ("response_given_instruction", "response")
_INSTRUCTION_VIEWS: tuple[ViewName, ...] = ("instruction_given_response", "instruction")
_SAME_TOKENS = "both sides count the same token ids, after the template's response header"
_STEPS = "one token a step (the authors' script: two); a step ends at . ? ! or a line break"

_SPECS = (
    MetricSpec(
        name="ifd",
        summary="How little the instruction helps the student to predict the response.",
        formula="exp(L(response|instruction) - L(response))",
        better="higher",
        level="pair",
        valid_range=(0.0, math.inf),
        ceiling=1.0,
        views=_RESPONSE_VIEWS,
        source="Selective Reflection-Tuning, eq. 3 (arXiv 2402.10110)",
        deviation=_SAME_TOKENS,
        compute=lambda m: response.ifd(
            response=m.view("response"), response_given_instruction=m.answer
        ),
    ),
    MetricSpec(
        name="ifd_loss",
        summary="The same as a ratio of losses; it ranks differently from ifd.",
        formula="L(response|instruction) / L(response)",
        better="higher",
        level="pair",
        valid_range=(0.0, math.inf),
        ceiling=1.0,
        views=_RESPONSE_VIEWS,
        source="Cherry LLM (arXiv 2308.12032)",
        deviation=_SAME_TOKENS,
        compute=lambda m: response.ifd_loss(
            response=m.view("response"), response_given_instruction=m.answer
        ),
    ),
    MetricSpec(
        name="r_ifd",
        summary="How little the response helps the student to guess the instruction.",
        formula="exp(L(instruction|reversed response) - L(instruction))",
        better="lower",
        level="pair",
        valid_range=(0.0, math.inf),
        ceiling=1.0,
        views=_INSTRUCTION_VIEWS,
        source="Selective Reflection-Tuning, eq. 8 (arXiv 2402.10110)",
        deviation=f"our own wording of the reverse request; {_SAME_TOKENS}",
        compute=lambda m: response.r_ifd(
            instruction=m.view("instruction"),
            instruction_given_response=m.view("instruction_given_response"),
        ),
    ),
    MetricSpec(
        name="ppl",
        summary="Perplexity of the response after the instruction.",
        formula="exp(L(response|instruction))",
        better="neither",
        level="pair",
        valid_range=(1.0, math.inf),
        source="common; a baseline of Selective Reflection-Tuning (arXiv 2402.10110)",
        compute=lambda m: response.ppl(response_given_instruction=m.answer),
    ),
    MetricSpec(
        name="grape",
        summary="Mean log-probability of the response: how close it is to what the student would "
        "write.",
        formula="-L(response|instruction), under the base student",
        better="higher",
        level="candidate",
        valid_range=(-math.inf, 0.0),
        source="GRAPE (arXiv 2502.04194)",
        deviation="end-of-turn tokens are not scored; the paper does not say",
        compute=lambda m: response.grape(response_given_instruction=m.answer),
    ),
    MetricSpec(
        name="rsr",
        summary="Rank over surprisal: unlikely tokens, but among the student's first choices.",
        formula="sum of min(rank, 100) / sum of surprisal, over the response",
        better="lower",
        level="candidate",
        valid_range=(0.0, math.inf),
        statistics="ranks",
        source="Rank-Surprisal Ratio, trajectory level (arXiv 2601.14249)",
        deviation="no epsilon under the fraction; noisy on short responses, as the authors warn",
        compute=lambda m: response.rsr(response_given_instruction=m.answer),
    ),
    MetricSpec(
        name="mean_surprisal",
        summary="Mean surprisal (loss) of the response after the instruction.",
        formula="L(response|instruction)",
        better="neither",
        level="candidate",
        valid_range=(0.0, math.inf),
        source="a baseline of Rank-Surprisal Ratio (arXiv 2601.14249)",
        compute=lambda m: response.mean_surprisal(response_given_instruction=m.answer),
    ),
    MetricSpec(
        name="mean_rank",
        summary="Mean rank of the response's tokens in the vocabulary, clipped at 100.",
        formula="mean of min(rank, 100)",
        better="lower",
        level="candidate",
        valid_range=(1.0, 100.0),
        statistics="ranks",
        source="a baseline of Rank-Surprisal Ratio (arXiv 2601.14249)",
        compute=lambda m: response.mean_rank(response_given_instruction=m.answer),
    ),
    MetricSpec(
        name="brier",
        summary="Mean Brier score of the student's prediction of each token.",
        formula="mean of 1 - 2 p(token) + sum over the vocabulary of p^2",
        better="neither",
        level="candidate",
        valid_range=(0.0, 2.0),
        statistics="full",
        source="LARK (arXiv 2605.30651)",
        deviation="the whole vocabulary; the authors' code renormalizes the 50 most likely tokens",
        compute=lambda m: response.brier(response_given_instruction=m.answer),
    ),
    MetricSpec(
        name="lark",
        summary="How fast training on it would lower the loss, among its instruction's candidates.",
        formula="(L_k / sum L) (2 Brier_k / L_k - sum Brier / sum L)",
        better="higher",
        level="pool",
        valid_range=(-math.inf, math.inf),
        statistics="full",
        needs="all candidates of the instruction",
        made_of=("mean_surprisal", "brier"),
        source="LARK (arXiv 2605.30651)",
        deviation="as brier; end-of-turn tokens are not scored",
    ),
    MetricSpec(
        name="lalp",
        summary="Local naturalness: how likely each step is after the few steps before it.",
        formula="mean over steps of the mean log p(token | instruction, 4 steps before)",
        better="higher",
        level="candidate",
        valid_range=(-math.inf, 0.0),
        needs="scores of every step after a short window",
        source="local log-probability, version 1 (arXiv 2510.03988)",
        deviation="the instruction is always in the window; a step ends at . ? ! or a line break",
        compute=_lalp,
    ),
    MetricSpec(
        name="aslec_drop",
        summary="Mean log-probability without the first token of each step.",
        formula="mean log p over the tokens that begin no step",
        better="higher",
        level="candidate",
        valid_range=(-math.inf, 0.0),
        needs="the response's text",
        source="ASLEC-DROP (arXiv 2604.06834)",
        deviation=_STEPS,
        compute=lambda m: response.aslec_drop(m.reading, response=m.text),
    ),
    MetricSpec(
        name="first_token_logprob",
        summary="Mean log-probability of the tokens that begin a step.",
        formula="mean log p over the tokens that begin a step",
        better="neither",
        level="candidate",
        valid_range=(-math.inf, 0.0),
        needs="the response's text",
        source="ASLEC (arXiv 2604.06834)",
        deviation=_STEPS,
        compute=lambda m: response.first_token_logprob(m.reading, response=m.text),
    ),
    MetricSpec(
        name="first_token_share",
        summary="The share of tokens that begin a step: high where steps are short.",
        formula="tokens that begin a step / tokens",
        better="neither",
        level="candidate",
        valid_range=(0.0, 1.0),
        needs="the response's text",
        source="F of ASLEC (arXiv 2604.06834)",
        deviation=_STEPS,
        compute=lambda m: response.first_token_share(m.reading, response=m.text),
    ),
    MetricSpec(
        name="casl",
        summary="Mean log-probability, corrected for the length of steps.",
        formula="grape - gamma * first_token_share, gamma fitted over the set",
        better="higher",
        level="candidate",
        valid_range=(-math.inf, math.inf),
        needs="the response's text, and a set on which gamma is fitted",
        made_of=("grape", "aslec_drop", "first_token_logprob", "first_token_share"),
        source="ASLEC-CASL (arXiv 2604.06834)",
        deviation=_STEPS,
    ),
    MetricSpec(
        name="upd",
        summary="Surprising tokens at places where the student was sure.",
        formula="mean of sigmoid(surprisal) * max(0, 1 - entropy / log(vocabulary))",
        better="higher",
        level="candidate",
        valid_range=(0.0, 1.0),
        statistics="full",
        needs="the size of the vocabulary",
        source="as computed by OpenDataArena's scorers; no paper found",
        compute=_upd,
    ),
    MetricSpec(
        name="high_entropy_sum",
        summary="Sum of the highest 0.5% of the token entropies; grows with length.",
        formula="sum of the highest max(1, ceil(0.005 T)) entropies",
        better="higher",
        level="candidate",
        valid_range=(0.0, math.inf),
        statistics="full",
        source="High-Entropy Sum (arXiv 2605.22389)",
        deviation="at least one token is counted",
        compute=lambda m: response.high_entropy_sum(response_given_instruction=m.answer),
    ),
    MetricSpec(
        name="delta_loss",
        summary="How much more likely training has made the response.",
        formula="L_base(response|instruction) - L_current(response|instruction)",
        better="neither",
        level="candidate",
        valid_range=(-math.inf, math.inf),
        needs="scores of two students",
        source="per-response form of Rho-1's excess loss (arXiv 2404.07965)",
        deviation="mean over the response instead of a mask of tokens",
    ),
    MetricSpec(
        name="rsr_of_set",
        summary="Rank over surprisal of a whole set, such as one teacher's responses.",
        formula="mean of mean_rank / mean of mean_surprisal",
        better="lower",
        level="set",
        valid_range=(0.0, math.inf),
        statistics="ranks",
        needs="a set of responses",
        made_of=("mean_rank", "mean_surprisal"),
        source="Rank-Surprisal Ratio, dataset level (arXiv 2601.14249)",
    ),
    MetricSpec(
        name="car",
        summary="Reward of a set, lower where the student is surprised.",
        formula="mean reward / (1 + beta * mean loss)",
        better="higher",
        level="set",
        valid_range=(0.0, math.inf),
        needs="a set of responses and their rewards",
        made_of=("mean_surprisal",),
        source="CAR (arXiv 2411.07133)",
        deviation="beta is 1 unless given: the paper's value could not be confirmed",
    ),
)

_BY_NAME = {spec.name: spec for spec in _SPECS}
METRICS: Mapping[str, MetricSpec] = MappingProxyType(_BY_NAME)
"""Every metric by name, in the order of the documentation; those of extensions come last."""

SCORABLE: tuple[str, ...] = tuple(
    spec.name for spec in _SPECS if spec.compute is not None or spec.name in {"lark", "casl"}
)
"""Metrics that can be columns of the scores table: not those of sets or of two students."""


def scorable() -> tuple[str, ...]:
    """Metrics that can be columns of the scores table, including those of extensions."""
    return (*SCORABLE, *extensions_of("metric"))


def _add_extensions() -> None:
    """Add the metrics of the loaded extensions to METRICS."""
    for name in set(_BY_NAME) - {spec.name for spec in _SPECS}:
        del _BY_NAME[name]
    for name, found in extensions_of("metric").items():
        if name in _BY_NAME:
            raise SettingsError(
                f"extension metric {name}: is the name of a metric of tutelage",
                hint="give the function another name",
            )
        _BY_NAME[name] = _spec_of(found)


def _spec_of(found: Extension) -> MetricSpec:
    def compute(material: Material) -> float | None:
        about = f"candidate {material.reading.candidate_id}"
        return finite_or_none(found.call(material, about=about), who=found, about=about)

    return MetricSpec(
        name=found.name,
        summary=found.summary or "A metric of an extension.",
        formula="see the file of extensions",
        better=found.options.get("better", "neither"),
        level="candidate",
        valid_range=(-math.inf, math.inf),
        views=tuple(found.options.get("views", ("response_given_instruction",))),
        statistics=found.options.get("statistics", "nll"),
        needs="a file of extensions, and the response's text",
        source="an extension",
        compute=compute,
    )


when_loaded(_add_extensions)
_add_extensions()


# What a list of metric names asks of the student.


LEVELS: tuple[Statistics, ...] = ("nll", "ranks", "full")
"""Levels of statistics in ascending order; each includes the ones before it."""


def table_metrics() -> tuple[str, ...]:
    """Metrics that can be columns of the scores table: not those of sets or of two students."""
    return scorable()


def specs_for(names: Iterable[str]) -> tuple[MetricSpec, ...]:
    """Specifications of metrics that can be columns of a scores table, and of their inputs.

    Args:
        names: As in `--metrics`.

    Returns:
        Each metric once: ingredients before what is made of them, else in the order given.

    Raises:
        SettingsError: A name is unknown, or is a metric of something other than a candidate.
    """
    found: dict[str, MetricSpec] = {}
    for name in names:
        if name not in METRICS:
            close = difflib.get_close_matches(name, scorable(), n=1)
            meant = f"did you mean {close[0]!r}? " if close else ""
            raise SettingsError(
                f"unknown metric {name!r}", hint=f"{meant}metrics are {', '.join(scorable())}"
            )
        if name not in scorable():
            raise SettingsError(
                f"{name!r} is not a score of one candidate: it needs {METRICS[name].needs}",
                hint=f"call tutelage.metrics.{name}, or score with {', '.join(scorable())}",
            )
        for part in (*METRICS[name].made_of, name):
            found.setdefault(part, METRICS[part])
    return tuple(found.values())


def views_for(names: Iterable[str]) -> tuple[ViewName, ...]:
    """Views that the student must read for these metrics, each once, in their usual order.

    Raises:
        SettingsError: A name is unknown.
    """
    wanted = {view for spec in specs_for(names) for view in spec.views}
    return tuple(view for view in VIEW_NAMES if view in wanted)


def statistics_for(names: Iterable[str]) -> Statistics:
    """Lowest level of statistics that suffices for all of these metrics.

    Returns:
        `full` where one needs entropies or squares, else `ranks` where one needs ranks, else `nll`.

    Raises:
        SettingsError: A name is unknown.
    """
    return max((spec.statistics for spec in specs_for(names)), key=LEVELS.index, default="nll")


def most_of(*levels: Statistics) -> Statistics:
    """Most detailed of some levels of statistics."""
    return max(levels, key=LEVELS.index)


def beyond(names: Iterable[str], statistics: Statistics) -> tuple[str, ...]:
    """Metrics that need more than the given statistics.

    Raises:
        SettingsError: A name is unknown.
    """
    most = LEVELS.index(statistics)
    return tuple(n for n in names if LEVELS.index(statistics_for([n])) > most)


def needs_text(names: Iterable[str]) -> bool:
    """Whether one of these metrics needs the response's text (for its steps).

    Raises:
        SettingsError: A name is unknown.
    """
    return any("the response's text" in spec.needs for spec in specs_for(names))


def needs_steps(names: Iterable[str]) -> bool:
    """Whether one of these metrics needs a reading of every step (see `step_views`).

    Raises:
        SettingsError: A name is unknown.
    """
    return any(spec.name == "lalp" for spec in specs_for(names))
