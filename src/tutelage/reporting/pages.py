"""Report pages as HTML, Markdown and text, with the same headline and facts in each."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from textwrap import fill
from typing import Any, TypeAlias

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from tutelage.reporting.blocks import Figure, Section, Table, one_line, visible
from tutelage.reporting.comparison_section import (
    comparison_sections,
    null_section,
    source_section,
    teacher_section,
)
from tutelage.reporting.metric_section import (
    agreement_section,
    length_section,
    plane_section,
    spread_section,
)
from tutelage.reporting.number_format import (
    cell,
    count,
    duration,
    listed,
    money,
    number,
    reason_words,
    set_words,
    share,
)
from tutelage.reporting.outcome_section import (
    account_section,
    flow_section,
    provenance_section,
    trouble_section,
)
from tutelage.reporting.run_summary import CHOSEN, SetTally, Summary
from tutelage.reporting.svg import DARK, LIGHT, css_variables, fit_for_page

WITHOUT_STUDENT = frozenset(
    (
        "random",
        "longest",
        "all_original",
        "all_refined",
        "keep_all",
        "permuted",
        "length_matched",
        "refused_version",
        "cheap",
        "oracle",
    )
)
"""Rules that do not select by the student: they compare none of its numbers, or not those of the
row.
"""

_LEAST_COMPARED = 2
"""Least number of examples of a set with an interval for its means."""

_TO_THE_CHOICE = frozenset(("load", "refine", "sample", "score", "select"))
"""Stages before the decisions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Headline number with its label.

    Attributes:
        value: The number with its unit.
        label: Text next to the number.
    """

    value: str
    label: str


def facts(summary: Summary) -> tuple[Fact, ...]:
    """Headline numbers, the input first."""
    flow = summary.flow
    found = [Fact(value=f"{flow.rows():,}", label="input rows")]
    found.append(Fact(value=f"{flow.examples:,}", label="examples"))
    if summary.rule is not None or summary.kept:
        refined = flow.rows("kept_refined")
        found += [
            Fact(
                value=f"{summary.kept:,} ({share(summary.kept / (flow.examples or 1))})",
                label="examples kept",
            ),
            Fact(value=f"{flow.rows('kept_original'):,}", label="kept as they were"),
            Fact(value=f"{refined:,}", label="kept in a rewritten version"),
            Fact(value=f"{flow.rows('refused'):,}", label="dropped"),
        ]
    else:
        found.append(Fact(value=f"{summary.scored:,}", label="versions scored"))
    if summary.account.cost is not None:
        found.append(
            Fact(
                value=money(summary.account.cost, summary.account.currency),
                label="paid to the teacher",
            )
        )
    seconds = sum(s for name, s in summary.account.seconds if name.split()[0] in _TO_THE_CHOICE)
    if seconds:
        found.append(Fact(value=duration(seconds), label="from reading to choosing"))
    return tuple(found)


def opening(summary: Summary) -> tuple[str, ...]:
    """Opening sentences: what happened in the run."""
    paragraphs = [f"{_input(summary)} {_choice(summary)}", _beside(summary), _cost(summary)]
    return tuple(p for p in paragraphs if p)


def _input(summary: Summary) -> str:
    flow = summary.flow
    rows, examples = flow.rows(), flow.examples
    if rows == examples:
        if rows == 1:
            return "The one input row became an example."
        return f"All {count(rows, 'input row')} became examples." if rows else "There were no rows."
    ended: Counter[str] = Counter()
    for path in flow.paths:
        if path.writing is None:
            ended[path.reading] += path.rows
    reasons = listed([f"{reason_words(r)}: {n:,}" for r, n in ended.most_common(3)])
    more = " and other reasons" if len(ended) > 3 else ""  # noqa: PLR2004  (as many as are named)
    verb = "became an example" if examples == 1 else "became examples"
    return (
        f"Of {count(rows, 'input row')}, {examples:,} {verb}; the rest did not ({reasons}{more})."
    )


def _choice(summary: Summary) -> str:
    flow, student = summary.flow, summary.student
    if summary.rule is None and not summary.kept:
        if student is None:
            return "No student has scored them yet."
        return (
            f"The student {student} scored {count(summary.scored, 'version')} of them. "
            "Nothing has been chosen yet."
        )
    by_itself = (summary.rule or "").split(",")[0].strip() in WITHOUT_STUDENT
    who = f"The student {student}" if student and not by_itself else "The rule"
    kept, dropped = summary.kept, flow.rows("refused")
    reasons: Counter[str] = Counter()
    for path in flow.paths:
        if path.kind == "refused":
            reasons[path.deciding or ""] += path.rows
    words = (
        f"{who} kept {kept:,} of {count(flow.examples, 'example')} "
        f"({share(kept / (flow.examples or 1))}): {flow.rows('kept_refined'):,} in a rewritten "
        f"version and {flow.rows('kept_original'):,} as they were. It dropped {dropped:,}"
    )
    if reasons:
        reason, times = reasons.most_common(1)[0]
        words += f", most often with this reason: {reason_words(reason)} ({times:,})"
    rule = f" The rule was {summary.rule}." if summary.rule else ""
    return f"{words}.{rule}"


def _beside(summary: Summary) -> str:
    chosen = next((s for s in summary.sets if s.name == CHOSEN), None)
    others = [s for s in summary.sets if s.name != CHOSEN]
    if not others:
        return ""
    if chosen is None or not chosen.size:
        return "Nothing was kept, so there is no selection to compare with baselines."
    lengths = [f"{set_words(s.name)} {number(s.tokens.value)}" for s in others if s.tokens]
    said = ""
    if chosen.tokens and lengths:
        said = (
            f"A kept response has {number(chosen.tokens.value)} tokens on average. The averages "
            f"in sets of the same size chosen without the student: {', '.join(lengths)}. "
        )
    return f"{said}{_random(summary, chosen, others)}".strip()


def _random(summary: Summary, chosen: SetTally, others: list[SetTally]) -> str:
    random = next((s for s in others if s.name == "random"), None)
    if random is None:
        return ""
    if min(chosen.size, random.size) < _LEAST_COMPARED:
        return (
            "One example is too few for an interval, so the selection is not compared with random."
        )
    apart: list[str] = []
    alike: list[str] = []
    for name, mine, theirs in zip(summary.metrics, chosen.means, random.means, strict=True):
        if mine is None or theirs is None:
            continue
        (apart if mine.differs_from(theirs) else alike).append(name)
    parts = []
    if apart:
        parts.append(f"Compared with the random set, the selection differs in {listed(apart)}")
    if alike:
        start = (
            "but not clearly in"
            if apart
            else "Compared with the random set, there is no clear difference in"
        )
        parts.append(f"{start} {listed(alike)}")
    if not parts:
        return ""
    return (
        f"{', '.join(parts)} (95 % intervals of the difference of means). That a set looks "
        "different to the student does not prove that training on it helps."
    )


def _cost(summary: Summary) -> str:
    tally = dict(summary.account.teacher)
    said = []
    if "asked" in tally:
        who = listed(summary.teachers) or "The teacher"
        journal = tally.get("from_journal")
        from_journal = f", {journal:,} of them answered from the teacher cache" if journal else ""
        asked = tally["asked"]
        times = count(asked, "request") if isinstance(asked, int | float) else f"{asked} requests"
        said.append(f"{who} got {times}{from_journal}.")
    if summary.account.cost is not None:
        said.append(f"That cost {money(summary.account.cost, summary.account.currency)}.")
    seconds = sum(s for name, s in summary.account.seconds if name.split()[0] in _TO_THE_CHOICE)
    if seconds:
        said.append(f"The run took {duration(seconds)}.")
    return " ".join(said)


# ----------------------------------------------------------------------------------------------
# Sections of a report, in order. A new one is a function here, or is passed in.
# ----------------------------------------------------------------------------------------------


Chapter: TypeAlias = Callable[[Summary], Sequence[Section]]
"""Type of a section's function; None where the run has nothing to show."""

BEFORE: tuple[Chapter, ...] = (
    flow_section,
    null_section,
    spread_section,
    plane_section,
    length_section,
    agreement_section,
    source_section,
    teacher_section,
    trouble_section,
    comparison_sections,
    account_section,
)
AFTER: tuple[Chapter, ...] = (provenance_section,)


def sections_of(summary: Summary, *, more: Sequence[Section] = ()) -> tuple[Section, ...]:
    """All non-empty sections; those from other packages precede the settings."""
    before = [section for chapter in BEFORE for section in chapter(summary)]
    after = [section for chapter in AFTER for section in chapter(summary)]
    return (*before, *more, *after)


# ----------------------------------------------------------------------------------------------
# HTML: one self-contained page.
# ----------------------------------------------------------------------------------------------


_TEMPLATES = "templates"
RUN_ABOUT = "what the student chose"


def render_html(summary: Summary, *, more: Sequence[Section] = (), pictures: bool = True) -> str:
    """Report as one HTML page without network access or scripts.

    Args:
        summary: What `summarise` found.
        more: Sections of other packages; they go before the settings.
        pictures: Without them each figure is its table, and no picture library is needed.

    Returns:
        The whole page. Everything that came with the data is escaped, and what would be
        invisible in it is shown.

    Raises:
        MissingExtraError: Pictures were asked for and altair or vl-convert is not installed.
    """
    return render_page(
        title=summary.title,
        about=RUN_ABOUT,
        opening=opening(summary),
        facts=facts(summary),
        sections=sections_of(summary, more=more),
        pictures=pictures,
    )


def render_page(
    *,
    title: str,
    about: str,
    opening: Sequence[str],
    facts: Sequence[Fact],
    sections: Sequence[Section],
    pictures: bool = True,
) -> str:
    """HTML page in the same layout for something other than a run.

    Args:
        title: Its heading.
        about: What kind of page this is, in a few words.
        opening: The paragraphs under the heading; the first says what came out.
        facts: The headline numbers.
        sections: The chapters, in order.
        pictures: As for `render_html`.
    """
    drawn = {
        (section.key, index): tuple(_pictures(f"{section.key}-{index}", figure))
        for section in sections
        for index, figure in enumerate(section.figures)
        if pictures
    }
    environment = Environment(
        loader=PackageLoader("tutelage.reporting", _TEMPLATES),
        autoescape=True,
        finalize=_show,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell
    return environment.get_template("page.html.j2").render(
        title=title,
        about=about,
        facts=facts,
        opening=opening,
        sections=sections,
        drawn=drawn,
        style=Markup(_style()),  # noqa: S704  (our own file)
    )


def _pictures(key: str, figure: Figure) -> Iterator[tuple[str, Markup]]:
    """Pictures of a figure, each with the CSS class of the screens that show it."""
    broad = "picture only" if figure.draw_narrow is None else "picture broad"
    pictures = ((broad, figure.draw), ("picture narrow", figure.draw_narrow))
    for kind, draw in pictures:
        if draw is not None:
            svg = fit_for_page(draw(), key=f"{key}-{len(kind)}", label=visible(figure.alt))
            yield kind, Markup(svg)  # noqa: S704  (our own drawing, escaped by its writer)


def _show(value: Any) -> Any:
    """Escape everything that a template prints."""
    return visible(value) if type(value) is str else value


def _style() -> str:
    style = files("tutelage.reporting").joinpath(_TEMPLATES, "page.css").read_text(encoding="utf-8")
    light, dark = css_variables(LIGHT), css_variables(DARK)
    return (
        f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"
        f"@media print{{:root{{{light}}}}}{style}"
    )


# ----------------------------------------------------------------------------------------------
# Text and Markdown.
# ----------------------------------------------------------------------------------------------


WIDTH = 96
MOST_ROWS = 12
_CELL_CHARACTERS = 40
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&!])")


def render_text(summary: Summary, *, more: Sequence[Section] = ()) -> str:
    """Report for a terminal: the headline, then the tables, with at most 12 rows each.

    Control characters of the data are shown and never sent to the terminal.
    """
    title = visible(f"{summary.title}: what the student chose")
    lines = [title, "=" * len(title), ""]
    for paragraph in opening(summary):
        lines += [fill(visible(paragraph), WIDTH), ""]
    width = max(len(visible(f.label)) for f in facts(summary))
    lines += [f"  {visible(f.label):<{width}}  {visible(f.value)}" for f in facts(summary)]
    for section in _in_text(summary, more):
        lines += ["", section.title, "-" * len(section.title)]
        for table in _tables(section):
            lines += ["", *_aligned(table)]
        if not _tables(section):
            lines += [fill(visible(p), WIDTH) for p in section.paragraphs]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def render_markdown(summary: Summary, *, more: Sequence[Section] = ()) -> str:
    """The report as Markdown, for a pull request or a model card."""
    return render_markdown_page(
        title=f"{summary.title}: what the student chose",
        opening=opening(summary),
        facts=facts(summary),
        sections=tuple(_in_text(summary, more)),
    )


def render_markdown_page(
    *,
    title: str,
    opening: Sequence[str],
    facts: Sequence[Fact],
    sections: Sequence[Section],
) -> str:
    """Markdown of a page that `render_page` shows.

    Args:
        title: The title.
        opening: The first sentences.
        facts: Headline numbers.
        sections: The sections.
    """
    lines = [f"# {_escaped(title)}", ""]
    for paragraph in opening:
        lines += [_escaped(paragraph), ""]
    lines += [f"- {_escaped(f.label)}: **{_escaped(f.value)}**" for f in facts]
    for section in sections:
        lines += ["", f"## {_escaped(section.title)}", ""]
        for paragraph in section.paragraphs:
            lines += [_escaped(paragraph), ""]
        for table in _tables(section):
            lines += _piped(table)
    return "\n".join(lines).rstrip() + "\n"


def _in_text(summary: Summary, more: Sequence[Section]) -> Iterator[Section]:
    return (s for s in sections_of(summary, more=more) if s.in_text)


def _tables(section: Section) -> list[Table]:
    return [*section.tables, *(figure.table for figure in section.figures if figure.in_text)]


def _cells(table: Table) -> tuple[list[list[str]], int]:
    shown = [
        [cell(value, column.style) for value, column in zip(row, table.columns, strict=True)]
        for row in table.rows[:MOST_ROWS]
    ]
    return shown, len(table.rows) - len(shown)


def _aligned(table: Table) -> Iterator[str]:
    rows, left = _cells(table)
    grid = [[c.name for c in table.columns], *rows]
    grid = [[one_line(text, characters=_CELL_CHARACTERS) for text in row] for row in grid]
    widths = [max(len(row[index]) for row in grid) for index in range(len(table.columns))]
    yield f"{visible(table.caption)}:"
    for row in grid:
        yield "  " + "  ".join(
            text.ljust(width) if column.style == "text" else text.rjust(width)
            for text, width, column in zip(row, widths, table.columns, strict=True)
        )
    if left:
        yield f"  ... and {left:,} more"


def _piped(table: Table) -> Iterator[str]:
    rows, left = _cells(table)
    yield f"{_escaped(table.caption)}:"
    yield ""
    yield "| " + " | ".join(_escaped(c.name) for c in table.columns) + " |"
    yield "|" + "|".join(" :-- " if c.style == "text" else " --: " for c in table.columns) + "|"
    for row in rows:
        yield "| " + " | ".join(_escaped(one_line(text, characters=120)) for text in row) + " |"
    yield ""
    if left:
        yield f"... and {left:,} more."
        yield ""


def _escaped(text: str) -> str:
    """Text with Markdown's special characters escaped."""
    return _MARKUP.sub(r"\\\1", " ".join(visible(text).split()))
