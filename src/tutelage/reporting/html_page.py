"""HTML renderer of reports: one self-contained page."""

from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from tutelage.reporting.blocks import Figure, Section
from tutelage.reporting.headline import Fact, facts, opening
from tutelage.reporting.number_format import cell
from tutelage.reporting.run_page import sections_of
from tutelage.reporting.run_summary import Summary
from tutelage.reporting.sanitize import visible
from tutelage.reporting.svg import fit_for_page
from tutelage.reporting.theme import DARK, LIGHT, css_variables

_TEMPLATES = "templates"
RUN_ABOUT = "what the student chose"


def render_html(summary: Summary, *, more: Sequence[Section] = (), pictures: bool = True) -> str:
    """Report as one HTML page without network access or scripts.

    Args:
        summary: What `summarise` found.
        more: Sections of other rooms; they go before the settings.
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
