"""Report of a ranking: sentences, a table, and a page with figures."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from tutelage.data import replacing, write_text
from tutelage.data.schemas import SETTLING, STANDINGS
from tutelage.experiments.rank.answer_pool import UNNAMED, Ranked
from tutelage.experiments.rank.predictors import PREDICTORS
from tutelage.reporting import (
    Cell,
    Column,
    Fact,
    Figure,
    Section,
    Table,
    render_page,
    schema_columns,
)
from tutelage.reporting.charts import (
    CHART_WIDTH,
    WIDE_CHART_WIDTH,
    chart_data,
    distinct_labels,
    import_altair,
)
from tutelage.reporting.number_format import count
from tutelage.reporting.svg import LIGHT, missing_pictures, svg_of

ALL = "all"
_PNG_SCALE = 2.0
NAMES_SHOWN = 6
_NUMBER = ".4g"
_IN_COLOUR = (
    "In colour: entrants that cannot be distinguished from the first, by simultaneous intervals "
    "of all pairs."
)
_FOLLOWED = (
    "Based on confidence sequences, which are valid at any number of looks. They need more "
    "questions than a single look at the end."
)


def entrants_table(ranked: Ranked) -> pa.Table:
    """Table with one row per teacher or source, best first: numbers with intervals and ranks.

    Returns:
        `entrant`, `answers`, `unscored` (answers without the student's numbers), then for each
        predictor NAME, NAME_low, NAME_high, NAME_rank, NAME_rank_best, NAME_rank_worst.
    """
    rows: dict[str, dict[str, Any]] = {}
    for row in _of(ranked.standings, domain=ALL):
        entry = rows.setdefault(row["entrant"], {"entrant": row["entrant"]})
        name = row["predictor"]
        entry[name] = row["value"]
        for part in ("low", "high", "rank", "rank_best", "rank_worst"):
            entry[f"{name}_{part}"] = row[part]
    unscored = _unscored(ranked)
    for entrant, entry in rows.items():
        entry["answers"], entry["unscored"] = unscored[entrant]
    last = len(rows) + 1
    ordered = sorted(
        rows.values(), key=lambda r: (r.get(f"{ranked.by}_rank") or last, r["entrant"])
    )
    columns = ["entrant", "answers", "unscored"]
    columns += [name for row in ordered[:1] for name in row if name not in columns]
    return pa.table({name: [row.get(name) for row in ordered] for name in columns})


def _of(table: pa.Table, *, domain: str, predictor: str | None = None) -> list[dict[str, Any]]:
    return [
        row
        for row in table.to_pylist()
        if row["domain"] == domain and predictor in (None, row["predictor"])
    ]


def _unscored(ranked: Ranked) -> Mapping[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    columns = ("entrant", "status")
    for entrant, status in zip(*(ranked.answers[c].to_pylist() for c in columns), strict=True):
        answers, without = found.get(entrant, (0, 0))
        found[entrant] = (answers + 1, without + (status != "ok"))
    return found


def not_told_apart(ranked: Ranked) -> list[str]:
    """Entrants that cannot be distinguished from the first by the deciding predictor."""
    rows = _of(ranked.standings, domain=ALL, predictor=ranked.by)
    names = [row["entrant"] for row in rows if row["value"] is not None]
    pairs = _of(ranked.pairs, domain=ALL, predictor=ranked.by)
    # A pair with too few questions has no row: nothing is known of it.
    worse = {p["b"] for p in pairs if p["a"] == names[0] and p["told_apart"]} if names else set()
    return [name for name in names[1:] if name not in worse]


def may_be_best(ranked: Ranked) -> list[str]:
    """Entrants that may be the best, the first among them."""
    rows = _of(ranked.standings, domain=ALL, predictor=ranked.by)
    return [
        row["entrant"] for row in rows if row["value"] is not None and row["rank_best"] in (None, 1)
    ]


def settled_after(ranked: Ranked) -> int | None:
    """Number of questions after which the first place was settled, or None."""
    rows = [] if ranked.settling is None else ranked.settling.to_pylist()
    at = next((row for row in rows if row["settled"]), None)
    return None if at is None or at["leader"] != rows[-1]["leader"] else int(at["questions"])


def in_words(ranked: Ranked, *, level: float = 0.95) -> list[str]:
    """Result of the ranking in a few sentences."""
    rows = _of(ranked.standings, domain=ALL, predictor=ranked.by)
    first = next((row for row in rows if row["value"] is not None), None)
    if first is None:
        return [f"No entrant has a number for {ranked.by}: nothing can be ranked."]
    of = sum(row["value"] is not None for row in rows)
    interval = ""
    if first["low"] is not None:
        interval = f", interval {first['low']:{_NUMBER}} to {first['high']:{_NUMBER}}"
    noun = ranked.kind.removesuffix("s")
    opening = (
        f"By {ranked.by} ({first['better']} is better), {first['entrant']} is first of "
        f"{count(of, noun)} for {ranked.student.get('model', 'the student')}: "
        f"{first['value']:{_NUMBER}}{interval}, {count(first['questions'], 'question')}."
    )
    said = [opening]
    if without := len(rows) - of:
        said.append(
            f"{count(without, noun)} without a number for {ranked.by} "
            f"{'is' if without == 1 else 'are'} not ranked."
        )
    close = not_told_apart(ranked)
    if close:
        more = f" and {len(close) - NAMES_SHOWN} more" if len(close) > NAMES_SHOWN else ""
        names = ", ".join(close[:NAMES_SHOWN])
        others = "1 other does" if len(close) == 1 else f"{len(close)} others do"
        said.append(f"{others} not differ significantly from it: {names}{more}.")
    elif of > 1:
        said.append(f"All other ranked {ranked.kind} are significantly worse by this number.")
    else:
        said.append(f"No other {noun} has a number, so nothing was compared.")
        if first["entrant"] == UNNAMED and ranked.kind == "teachers":
            said.append("No row names its teacher: --map model=FIELD names the field that does.")
    looks = [] if of == 1 or ranked.settling is None else ranked.settling.to_pylist()
    if looks:
        said.append(_settled_words(ranked, looks, level=level))
    said.append(
        "Predictors are estimates; only training shows which set teaches best. docs/rank.md "
        "reports how well they have predicted so far."
    )
    return said


def _settled_words(ranked: Ranked, rows: Sequence[Mapping[str, Any]], *, level: float) -> str:
    percent = f"{100 * level:g} %"
    after = settled_after(ranked)
    if after is not None:
        return f"After {count(after, 'question')} the first place is settled at {percent}."
    last = rows[-1]
    asked = count(last["questions"], "question")
    return (
        f"After {asked} the first place is not settled at {percent}: the "
        "stopping rule, which is stricter because it looks several times, would continue with "
        f"{len(last['in_running'])} of them."
    )


def ranked_summary(ranked: Ranked, *, level: float = 0.95) -> dict[str, Any]:
    """Output of the command."""
    table = entrants_table(ranked)
    page = Path(ranked.out) / "report.html"
    return {
        "in_words": in_words(ranked, level=level),
        "by": ranked.by,
        "out": ranked.out,
        "report": str(page) if page.exists() else None,
        **ranked.tally,
        ranked.kind: [{k: v for k, v in row.items() if v is not None} for row in table.to_pylist()],
    }


def write_ranking(
    ranked: Ranked,
    *,
    level: float,
    opening: Sequence[str] = (),
    more: Sequence[Section] = (),
) -> None:
    """Write report.html and plots/ (SVG and PNG) into the folder of the ranking.

    Args:
        ranked: The result.
        level: Confidence level of its intervals.
        opening: Sentences that go first.
        more: Sections that go first.
    """
    root = Path(ranked.out)
    sections = [*more, *sections_of(ranked)]
    student = ranked.student.get("model", "the student")
    page = render_page(
        title=root.name,
        about=f"which {ranked.kind} teach {student}",
        opening=[*opening, *in_words(ranked, level=level)],
        facts=_facts(ranked),
        sections=sections,
    )
    write_text(root / "report.html", page)
    write_plots(root / "plots", sections)


def write_plots(folder: Path, sections: Sequence[Section]) -> None:
    """Write all figures of some sections as SECTION-N.svg and SECTION-N.png."""
    folder.mkdir(parents=True, exist_ok=True)
    for section in sections:
        for number, figure in enumerate(section.figures, start=1):
            svg = figure.draw()
            name = f"{section.key}-{number}"
            write_text(folder / f"{name}.svg", as_picture(svg))
            with replacing(folder / f"{name}.png") as temporary:
                temporary.write_bytes(png_of(svg))


def _facts(ranked: Ranked) -> tuple[Fact, ...]:
    tally = ranked.tally
    facts = [
        Fact(value=f"{tally['entrants']:,}", label=ranked.kind),
        Fact(value=f"{tally['questions']:,}", label="questions"),
        Fact(value=f"{tally['answers']:,}", label="answers read"),
    ]
    left_out = sum(tally.get("rows_left_out", {}).values())
    if left_out:
        facts.append(Fact(value=f"{left_out:,}", label="rows left out"))
    if ranked.kind == "teachers":
        facts.append(Fact(value=f"{len(may_be_best(ranked))}", label="may be the best"))
    return tuple(facts)


def sections_of(ranked: Ranked) -> list[Section]:
    """Sections: the table, a figure of each predictor, the settling, the domains."""
    names = _texts(ranked.standings, "predictor")
    names.sort(key=lambda name: name != ranked.by)
    sections = [
        Section(
            key="ranking",
            title=f"The {ranked.kind}",
            paragraphs=tuple(
                f"{n}: {PREDICTORS[n].summary} Better: {PREDICTORS[n].better}."
                for n in names
                if n in PREDICTORS
            ),
            tables=(_wide(ranked, names),),
        ),
        Section(
            key="intervals",
            title="With intervals",
            paragraphs=(_IN_COLOUR,),
            figures=tuple(_standing_figure(ranked, name) for name in names),
        ),
    ]
    if ranked.settling is not None and ranked.settling.num_rows > 1:
        sections.append(_settling_section(ranked))
    domains = [d for d in _texts(ranked.standings, "domain") if d != ALL]
    if domains:
        sections.append(_domain_section(ranked, domains))
    return sections


def _texts(table: pa.Table, column: str) -> list[str]:
    return list(dict.fromkeys(map(str, table[column].to_pylist())))


def _wide(ranked: Ranked, names: Sequence[str]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for row in entrants_table(ranked).to_pylist():
        best, worst = row[f"{ranked.by}_rank_best"], row[f"{ranked.by}_rank_worst"]
        ranks = f"{best} to {worst}" if best is not None else None
        rows.append(
            (
                *(row["entrant"], row[f"{ranked.by}_rank"], ranks),
                *(row[n] for n in names),
                *(row["answers"], row["unscored"]),
            )
        )
    return Table(
        caption=f"Best first by {ranked.by}",
        columns=(
            Column(name=ranked.kind.removesuffix("s")),
            *schema_columns(STANDINGS, ("rank",)),
            Column(name="possible ranks"),
            *(Column(name=name, style="number") for name in names),
            *schema_columns(STANDINGS, ("answers",)),
            Column(name="not scored", style="count"),
        ),
        rows=tuple(rows),
        note="Possible ranks are simultaneous over all entrants. Answers that were not scored "
        "(too long, empty) are not in the means.",
    )


def _standing_figure(ranked: Ranked, name: str) -> Figure:
    from tutelage.reporting.charts import interval_chart

    found = _of(ranked.standings, domain=ALL, predictor=name)
    known = [row for row in found if row["value"] is not None]
    rows = [(row["entrant"], row["value"], row["low"], row["high"]) for row in known]
    first = [row["entrant"] for row in known if row["rank_best"] == 1]
    better = known[0]["better"] if known else "neither"
    unit = f"{name} ({better} is better)" if better != "neither" else name
    caption = f"{name} of the {ranked.kind}, with intervals over questions"
    return Figure(
        title=caption,
        alt=f"{caption}: one line for each, best first.",
        draw=partial(interval_chart, rows, unit=unit, first=first),
        table=Table(
            caption=caption,
            columns=(
                Column(name=ranked.kind.removesuffix("s")),
                Column(name=name, style="number"),
                *schema_columns(STANDINGS, ("low", "high")),
            ),
            rows=tuple(rows),
        ),
        layout="wide",
        in_text=False,
    )


def _settling_section(ranked: Ranked) -> Section:

    rows = ranked.settling.to_pylist() if ranked.settling is not None else []
    points = [(row["questions"], len(row["in_running"])) for row in rows]
    caption = "Entrants that the stopping rule would still ask"
    return Section(
        key="settling",
        title="When to stop asking",
        paragraphs=(_FOLLOWED,),
        figures=(
            Figure(
                title=caption,
                alt=f"{caption}, after each number of questions.",
                draw=partial(
                    line_chart, [("in the running", points)], x="questions", y=ranked.kind
                ),
                table=Table(
                    caption=caption,
                    columns=(
                        *schema_columns(SETTLING, ("questions",)),
                        *schema_columns(SETTLING, ("in_running",), style="count"),
                        *schema_columns(SETTLING, ("leader",)),
                    ),
                    rows=tuple((r["questions"], len(r["in_running"]), r["leader"]) for r in rows),
                ),
                in_text=False,
            ),
        ),
    )


def _domain_section(ranked: Ranked, domains: Sequence[str]) -> Section:
    rows: list[tuple[Cell, ...]] = []
    for domain in domains:
        found = _of(ranked.standings, domain=domain, predictor=ranked.by)
        for row in found[:3]:
            if row["value"] is not None:
                best, worst = row["rank_best"], row["rank_worst"]
                ranks = f"{best} to {worst}" if best is not None else None
                rows.append((domain, row["rank"], row["entrant"], row["value"], ranks))
    return Section(
        key="domains",
        title="By domain",
        tables=(
            Table(
                caption=f"The first three of each domain by {ranked.by}",
                columns=(
                    *schema_columns(STANDINGS, ("domain", "rank")),
                    Column(name=ranked.kind.removesuffix("s")),
                    Column(name=ranked.by, style="number"),
                    Column(name="possible ranks"),
                ),
                rows=tuple(rows),
            ),
        ),
    )


# ----------------------------------------------------------------------------------------------
# Charts of rankings: places, how a number settles, two numbers against each other.
# ----------------------------------------------------------------------------------------------


LINES = ("original", "refinement", "chosen", "quiet")
"""Colours of lines, in order; further lines share the last one."""


def line_chart(
    lines: Sequence[tuple[str, Sequence[tuple[float, float]]]], *, x: str, y: str
) -> str:
    """Line chart over a count.

    Args:
        lines: Name and points (x, y) of each line.
        x: Title of the x axis.
        y: Title of the y axis.
    """
    alt = import_altair()
    names = distinct_labels([name for name, _ in lines])
    data = [
        {"line": key, "x": at, "y": value}
        for key, (_, points) in zip(names, lines, strict=True)
        for at, value in points
    ]
    tints = [LIGHT[LINES[min(i, len(LINES) - 1)]] for i in range(len(names))]
    chart = (
        alt.Chart(chart_data(data))
        .mark_line(strokeWidth=2, point=True)
        .encode(
            x=alt.X("x:Q", title=x, scale=alt.Scale(zero=False)),
            y=alt.Y("y:Q", title=y),
            color=alt.Color("line:N", scale=alt.Scale(domain=names, range=tints)),
            strokeDash=alt.StrokeDash("line:N", sort=names, legend=None),
        )
        .properties(width=WIDE_CHART_WIDTH, height=190)
    )
    return svg_of(chart)


def scatter_chart(points: Sequence[tuple[str, float, float]], *, x: str, y: str) -> str:
    """Scatter chart with one point per name, labelled where there are few.

    Args:
        points: Name, x and y of each point.
        x: Title of the x axis.
        y: Title of the y axis.
    """
    alt = import_altair()
    names = distinct_labels([name for name, _, _ in points])
    data = [{"name": key, "x": a, "y": b} for key, (_, a, b) in zip(names, points, strict=True)]
    base = alt.Chart(chart_data(data)).encode(
        x=alt.X("x:Q", title=x, scale=alt.Scale(zero=False)),
        y=alt.Y("y:Q", title=y, scale=alt.Scale(zero=False)),
    )
    layers = [base.mark_point(filled=True, size=55, color=LIGHT["chosen"])]
    if len(points) <= 12:  # noqa: PLR2004  (more names cover each other)
        layers.append(base.mark_text(align="left", dx=7, fontSize=10).encode(text="name:N"))
    return svg_of(alt.layer(*layers).properties(width=CHART_WIDTH, height=240))


def as_picture(svg: str) -> str:
    """Same figure with a white background, for use outside of a page."""
    start = svg.index(">", svg.index("<svg")) + 1
    return f'{svg[:start]}<rect width="100%" height="100%" fill="white"/>{svg[start:]}'


def png_of(svg: str) -> bytes:
    """PNG image of a figure.

    Raises:
        MissingExtraError: vl-convert is not installed.
    """
    try:
        import vl_convert
    except ImportError as error:
        raise missing_pictures() from error
    png: bytes = vl_convert.svg_to_png(as_picture(svg), scale=_PNG_SCALE)
    return png
