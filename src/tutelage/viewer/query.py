"""Queries of the viewer: from the parameters of an address to SQL.

The address holds everything, so that a link shows another person the same rows:

    q         words that must all be in one version's text
    outcome   kept_original, kept_refined, refused, overruled      (repeatable, any of them)
    source, reason, step, teacher, status                          (repeatable, any of them)
    fault     for which the quality gate rejected a version         (repeatable, any of them)
    beside    how a second student decides, where there is one     (repeatable, any of them)
    range     METRIC:WHOSE:LOW:HIGH, where WHOSE is original, chosen or any (repeatable, all)
    near      a text: the rows that are nearest to it in meaning, nearest first
    area      X0:X1:Y0:Y1, a rectangle of the map
    sort      row, source, reason, METRIC:WHOSE or gain:METRIC; a minus in front turns it around
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from tutelage.data import ORIGINAL
from tutelage.errors import DataError
from tutelage.reporting.queries import quoted

Whose: TypeAlias = Literal["original", "chosen", "any"]
FACETS = ("outcome", "reason", "step", "source", "teacher", "status", "fault", "beside")
OUTCOMES: Mapping[str, str] = {
    "kept_refined": f"kept and step <> '{ORIGINAL}'",
    "kept_original": f"kept and step = '{ORIGINAL}'",
    "refused": "not kept",
    "overruled": "overruled",
}
NO_SOURCE = ""
_MASKS = {"teacher": "teachers", "status": "statuses", "fault": "faults"}
_PREFIX = {"original": "o_", "chosen": "k_"}
MAX_QUERY_CHARACTERS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Range filter: a metric of some version lies between two numbers, both included."""

    metric: str
    whose: Whose
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Names that a query may use."""

    metrics: Sequence[str]
    teachers: Sequence[str]
    statuses: Sequence[str]
    faults: Sequence[str] = ()
    beside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Filters and order of the shown examples.

    Attributes:
        words: What the text of one version must hold; empty for everything.
        facets: Accepted values by facet; a facet without values accepts all.
        ranges: All must hold; those of `any` in one and the same version.
        near: A text whose nearest rows in meaning are shown; empty for everything.
        area: A rectangle of the map: its left, right, lower and upper edge; None: all of it.
        sort: As in the address.
    """

    words: str = ""
    facets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ranges: tuple[Range, ...] = ()
    near: str = ""
    area: tuple[float, float, float, float] | None = None
    sort: str = "row"

    @property
    def key(self) -> tuple[object, ...]:
        """Key of the set of examples, without their order."""
        return (tuple(sorted(self.facets.items())), *self.rest)

    @property
    def rest(self) -> tuple[object, ...]:
        """Key of the query without the facets."""
        return (self.words, self.ranges, self.near, self.area)

    @property
    def order(self) -> str:
        """Order that is shown: nearest first, unless another one is requested."""
        return "near" if self.near and self.sort == "row" else self.sort


def question_of(parameters: Iterable[tuple[str, str]], names: Names) -> Question:
    """Parse the address of a page.

    Raises:
        DataError: It asks for a metric, a facet's order or a range that there is not.
    """
    words, sort, near = "", "row", ""
    area: tuple[float, float, float, float] | None = None
    facets: dict[str, list[str]] = {}
    ranges: list[Range] = []
    for name, value in parameters:
        if name == "q":
            words = value.strip()[:MAX_QUERY_CHARACTERS]
        elif name == "beside" and not names.beside:
            continue  # the link was copied from a viewer with a second student
        elif name in FACETS:
            facets.setdefault(name, []).append(value)
        elif name == "range":
            ranges.append(_range(value, names))
        elif name == "near":
            near = value.strip()[:MAX_QUERY_CHARACTERS]
        elif name == "area":
            area = _area(value)
        elif name == "sort":
            sort = value
    order_by(sort, names)
    return Question(
        words=words,
        facets={name: tuple(sorted(set(values))) for name, values in facets.items()},
        ranges=tuple(ranges),
        near=near,
        area=area,
        sort=sort,
    )


def _area(value: str) -> tuple[float, float, float, float]:
    try:
        x0, x1, y0, y1 = (float(edge) for edge in value.split(":"))
    except ValueError as error:
        raise DataError(f"area {value!r} is not X0:X1:Y0:Y1") from error
    if not all(map(math.isfinite, (x0, x1, y0, y1))):
        raise DataError(f"area {value!r}: an edge is not a number")
    return x0, x1, y0, y1


def _range(value: str, names: Names) -> Range:
    metric, _, rest = value.partition(":")
    whose, *bounds = rest.split(":")
    if metric not in names.metrics or whose not in get_args(Whose) or len(bounds) != 2:  # noqa: PLR2004
        raise DataError(
            f"range {value!r} is not METRIC:WHOSE:LOW:HIGH",
            hint=f"metrics are {', '.join(names.metrics)}; whose is original, chosen or any",
        )
    try:
        low, high = (
            float(b) if b else bound for b, bound in zip(bounds, (-math.inf, math.inf), strict=True)
        )
    except ValueError as error:
        raise DataError(f"range {value!r}: a bound is not a number") from error
    if math.isnan(low) or math.isnan(high):
        raise DataError(f"range {value!r}: a bound is not a number")
    return Range(metric=metric, whose=whose, low=low, high=high)  # type: ignore[arg-type]


def condition(question: Question, names: Names) -> tuple[str, dict[str, object]]:
    """Condition on `e` as SQL, with its parameters.

    What is looked for in texts, among all versions, by meaning and on the map is expected in the
    tables `hits`, `ranged`, `near` and `placed`, since the same answer serves several questions.
    """
    facets, parameters = facets_condition(question, names)
    rest, more = rest_condition(question)
    return f"{facets} and {rest}", parameters | more


def facets_condition(
    question: Question, names: Names, *, without: str | None = None
) -> tuple[str, dict[str, object]]:
    """Condition of the facets; one facet is left out to count its values.

    Args:
        question: The query.
        names: The allowed names.
        without: The facet to leave out, or None.
    """
    parts: list[str] = []
    parameters: dict[str, object] = {}
    for facet, values in question.facets.items():
        if facet != without and values:
            parts.append(_facet(facet, values, names, parameters))
    return " and ".join(parts) or "true", parameters


def rest_condition(question: Question) -> tuple[str, dict[str, object]]:
    """Condition of words and ranges."""
    parts: list[str] = []
    parameters: dict[str, object] = {}
    for at, wanted in enumerate(w for w in question.ranges if w.whose != "any"):
        column = quoted(_PREFIX[wanted.whose] + wanted.metric)
        parts.append(_between(column, wanted, f"r{at}", parameters))
    if any(w.whose == "any" for w in question.ranges):
        parts.append("n in (select n from ranged)")
    if question.words:
        parts.append("n in (select n from hits)")
    if question.near:
        parts.append("n in (select n from near)")
    if question.area is not None:
        names = ("ax0", "ax1", "ay0", "ay1")
        parameters |= dict(zip(names, question.area, strict=True))
        parts.append(
            "n in (select n from placed where x between $ax0 and $ax1 and y between $ay0 and $ay1)"
        )
    return " and ".join(parts) or "true", parameters


def versions_query(question: Question) -> tuple[str, dict[str, object]] | None:
    """Query for the examples with a version within the ranges of `any`; None without ranges."""
    parameters: dict[str, object] = {}
    held = [
        _between(quoted(w.metric), w, f"v{at}", parameters)
        for at, w in enumerate(w for w in question.ranges if w.whose == "any")
    ]
    if not held:
        return None
    return f"select distinct n from c where {' and '.join(held)} order by n", parameters


def _between(column: str, wanted: Range, name: str, parameters: dict[str, object]) -> str:
    parts = [f"{column} is not null"]
    for bound, sign, suffix in ((wanted.low, ">=", "l"), (wanted.high, "<=", "h")):
        if math.isfinite(bound):
            parameters[name + suffix] = bound
            parts.append(f"{column} {sign} ${name}{suffix}")
    return " and ".join(parts)


def _facet(facet: str, values: Sequence[str], names: Names, parameters: dict[str, object]) -> str:
    if facet == "outcome":
        known = [f"({OUTCOMES[v]})" for v in values if v in OUTCOMES]
        return f"({' or '.join(known)})" if known else "false"
    if facet in _MASKS:
        listed = getattr(names, _MASKS[facet])
        mask = sum(1 << listed.index(v) for v in set(values) if v in listed)
        parameters[facet] = mask
        return f"({_MASKS[facet]} & ${facet}::ubigint) <> 0"
    parameters[facet] = [v for v in values if v != NO_SOURCE]
    inside = f"{facet}::varchar in (select unnest(${facet}::varchar[]))"
    return f"({inside} or {facet} is null)" if NO_SOURCE in values else inside


def order_by(sort: str, names: Names) -> str:
    """Order as SQL; ties stay in the order of the input.

    Raises:
        DataError: There is no such order.
    """
    down = sort.startswith("-")
    first, _, second = sort.removeprefix("-").partition(":")
    way = "desc" if down else "asc"
    if sort == "near":
        return "(select max(cosine) from near where near.n = e.n) desc, n"
    if first == "row" and not second:
        return f"n {way}"
    if first in ("source", "reason") and not second:
        return f"{first}::varchar {way} nulls last, n"
    if first in names.metrics and second in _PREFIX:
        return f"{quoted(_PREFIX[second] + first)} {way} nulls last, n"
    if first == "gain" and second in names.metrics:
        gain = f"{quoted('k_' + second)} - {quoted('o_' + second)}"
        return f"{gain} {way} nulls last, n"
    raise DataError(
        f"unknown sort order {sort!r}",
        hint="row, source, reason, METRIC:original, METRIC:chosen or gain:METRIC",
    )
