"""Every metric by name."""

import math
from collections.abc import Mapping
from types import MappingProxyType

from tutelage.data import ViewName
from tutelage.data.extensions import Extension, extensions_of, finite_or_none, when_loaded
from tutelage.errors import SettingsError
from tutelage.metrics import perplexity_ratios, response, steps
from tutelage.metrics.spec import Material, MetricSpec


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
    return steps.lalp(material.steps)


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
        compute=lambda m: perplexity_ratios.ifd(
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
        compute=lambda m: perplexity_ratios.ifd_loss(
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
        compute=lambda m: perplexity_ratios.r_ifd(
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
        compute=lambda m: perplexity_ratios.ppl(response_given_instruction=m.answer),
    ),
    MetricSpec(
        name="grape",
        summary="Mean log-probability of the response: how close it lies to the student.",
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
        deviation="the whole vocabulary; the authors' code renormalises the 50 likeliest tokens",
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
        needs="a reading of every step after a short window",
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
        compute=lambda m: steps.aslec_drop(m.reading, response=m.text),
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
        compute=lambda m: steps.first_token_logprob(m.reading, response=m.text),
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
        compute=lambda m: steps.first_token_share(m.reading, response=m.text),
    ),
    MetricSpec(
        name="casl",
        summary="Mean log-probability, less what the length of steps explains.",
        formula="grape - gamma * first_token_share, gamma fitted over the set",
        better="higher",
        level="candidate",
        valid_range=(-math.inf, math.inf),
        needs="the response's text, and a set to fit gamma on",
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
        summary="How much likelier training has made the response.",
        formula="L_base(response|instruction) - L_current(response|instruction)",
        better="neither",
        level="candidate",
        valid_range=(-math.inf, math.inf),
        needs="readings of two students",
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
        summary="Reward of a set, less where the student is surprised.",
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
"""Every metric by name, in the order of the documentation; those of extensions at the end."""

SCORABLE: tuple[str, ...] = tuple(
    spec.name for spec in _SPECS if spec.compute is not None or spec.name in {"lark", "casl"}
)
"""The metrics that can be a column of the scores table: not those of sets or of two students."""


def scorable() -> tuple[str, ...]:
    """The metrics that can be a column of the scores table, with those of extensions."""
    return (*SCORABLE, *extensions_of("metric"))


def _add_extensions() -> None:
    """Let METRICS hold what the file of extensions defines that is loaded now."""
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
