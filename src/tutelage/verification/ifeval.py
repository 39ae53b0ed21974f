"""Verifiable instructions of IFEval (arXiv 2311.07911)."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from tutelage.verification import ifeval_shapes as shapes
from tutelage.verification import ifeval_words as words
from tutelage.verification.ifeval_words import Checker, Finding
from tutelage.verification.verdict import Constraint, Verdict, cannot_check, no_answer, right, wrong

CHECKERS: Mapping[str, Checker] = MappingProxyType(
    {
        "change_case:capital_word_frequency": words.capital_words,
        "change_case:english_capital": words.all_capitals,
        "change_case:english_lowercase": words.all_lowercase,
        "combination:repeat_prompt": shapes.repeats_request,
        "combination:two_responses": shapes.two_responses,
        "detectable_content:number_placeholders": shapes.placeholders,
        "detectable_content:postscript": shapes.postscript,
        "detectable_format:constrained_response": shapes.one_of_three,
        "detectable_format:json_format": shapes.json_only,
        "detectable_format:multiple_sections": shapes.sections,
        "detectable_format:number_bullet_lists": shapes.bullet_points,
        "detectable_format:number_highlighted_sections": shapes.highlights,
        "detectable_format:title": shapes.title,
        "keywords:existence": words.keywords_exist,
        "keywords:forbidden_words": words.words_forbidden,
        "keywords:frequency": words.keyword_frequency,
        "keywords:letter_frequency": words.letter_frequency,
        "language:response_language": words.written_in,
        "length_constraints:nth_paragraph_first_word": shapes.paragraph_start,
        "length_constraints:number_paragraphs": shapes.paragraphs,
        "length_constraints:number_sentences": words.sentence_count,
        "length_constraints:number_words": words.word_count,
        "punctuation:no_comma": words.no_comma,
        "startend:end_checker": shapes.ends_with,
        "startend:quotation": shapes.quoted,
    }
)


def check_constraints(response: str, constraints: Sequence[Constraint]) -> Verdict:
    """Whether a response meets all its constraints (IFEval's strict reading).

    Args:
        response: What the model wrote, taken as it is.
        constraints: At least one.

    Returns:
        `wrong` if any is surely not met, even where another cannot be checked; `cannot_check` if
        none is surely missed but some kind is unknown, or an argument is missing.

    Examples:
        >>> check_constraints("so it goes", [Constraint(kind="punctuation:no_comma")]).verdict
        'right'
    """
    if not constraints:
        return cannot_check("there are no constraints")
    if not response.strip():
        return no_answer("the response is empty")
    findings = [(c.kind, *check_constraint(response, c)) for c in constraints]
    missed = [f"{kind}: {why}" for kind, met, why in findings if met is False]
    unsure = [f"{kind}: {why}" for kind, met, why in findings if met is None]
    if missed:
        return wrong("not met: " + "; ".join(missed))
    if unsure:
        return cannot_check("; ".join(unsure))
    return right("all met: " + "; ".join(f"{kind}: {why}" for kind, _, why in findings))


def check_constraint(response: str, constraint: Constraint) -> Finding:
    """Whether one constraint is met, with evidence; None where this cannot be decided."""
    checker = CHECKERS.get(constraint.kind)
    if checker is None:
        return None, "unknown kind of constraint"
    try:
        return checker(response, constraint.arguments)
    except KeyError as error:
        return None, f"argument {error} is missing"
    except TypeError as error:
        return None, str(error)
