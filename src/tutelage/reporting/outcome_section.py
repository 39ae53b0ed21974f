"""Sections about the outcome of rows, cost and settings."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from tutelage.data.schemas import DECISIONS
from tutelage.reporting import charts
from tutelage.reporting.blocks import Column, Figure, Section, Table, schema_columns
from tutelage.reporting.number_format import count, duration, reason_words, step_words
from tutelage.reporting.run_summary import Account, FlowPath, Summary
from tutelage.reporting.svg import Stop, Way, draw_narrow_sankey, draw_sankey

_MOST_REASONS = 6
_MOST_BARS = 12
_DETAIL_CHARACTERS = 200
_TINTS = {
    "kept_refined": "refinement",
    "kept_original": "original",
    "scored": "chosen",
    "refused": "refused",
    "lost": "lost",
}

_TROUBLES_TEXT = (
    "A row or version that failed has a reason and no number, and it can never be chosen."
)


def flow_section(summary: Summary) -> Sequence[Section]:
    """Flow diagram from the input rows to the outcome."""
    flow = summary.flow
    if not flow.paths:
        return ()
    rows = flow.rows()
    kept = f"{summary.kept:,} of {count(rows, 'input row')} end in the selected set"
    ways, heads = _ways(flow.paths)
    return (
        Section(
            key="flow",
            title="Flow of all rows",
            figures=(
                Figure(
                    title=kept if summary.rule or summary.kept else "Every row is accounted for",
                    alt=f"Flow of {rows} rows. {kept}. The table has every path.",
                    draw=partial(draw_sankey, ways, heads=heads),
                    draw_narrow=partial(draw_narrow_sankey, ways),
                    table=_flow_table(flow.paths),
                    note="The width of a band is a number of rows; nothing is left out.",
                    layout="wide",
                ),
            ),
        ),
    )


def _flow_table(paths: Sequence[FlowPath]) -> Table:
    total = sum(p.rows for p in paths)
    return Table(
        caption="Every path from the input to the outcome",
        columns=(
            Column(name="read"),
            Column(name="rewriting"),
            Column(name="outcome"),
            Column(name="reason or step"),
            Column(name="rows", style="count"),
            Column(name="share", style="share"),
        ),
        rows=tuple(
            (
                reason_words(p.reading),
                reason_words(p.writing) if p.writing else None,
                p.kind.replace("_refined", " rewritten").replace("_", " "),
                _outcome(p) if p.deciding else None,
                p.rows,
                p.rows / total,
            )
            for p in paths
        ),
    )


def _outcome(path: FlowPath) -> str:
    kept = path.kind in ("kept_original", "kept_refined")
    return step_words(path.deciding or "") if kept else reason_words(path.deciding or "")


def _ways(paths: Sequence[FlowPath]) -> tuple[list[Way], list[str]]:
    """Paths that are drawn, with rare reasons merged and unchanging columns left out."""
    refined = any(p.writing not in (None, "alone") for p in paths)
    lost = _rare(_tally(paths, lambda p: None if p.writing else p.reading))
    written = _rare(_tally(paths, lambda p: p.writing))
    refused = _rare(_tally(paths, lambda p: p.deciding if p.kind in ("refused", "lost") else None))
    ways = []
    order = {kind: index for index, kind in enumerate(_TINTS)}
    for p in sorted(paths, key=lambda p: (order[p.kind], -p.rows)):
        stops = [Stop(column=0, name="input rows", colour="quiet")]
        if p.writing is None:
            stops.append(Stop(column=1, name=_said(p.reading, lost, "not read"), colour="lost"))
        else:
            stops.append(Stop(column=1, name="examples", colour="quiet"))
            if refined:
                tint = "quiet" if p.writing in ("written", "alone") else "lost"
                name = _said(p.writing, written, "not rewritten")
                stops.append(Stop(column=2, name=name, colour=tint))
            stops.append(Stop(column=2 + refined, name=_end(p, refused), colour=_TINTS[p.kind]))
        ways.append(Way(stops=tuple(stops), rows=p.rows))
    heads = ["input", "read", *(["rewritten"] if refined else []), "outcome"]
    return ways, heads


def _end(path: FlowPath, rare: frozenset[str]) -> str:
    if path.kind in ("kept_original", "kept_refined"):
        return f"kept: {_outcome(path)}"
    if path.kind == "scored":
        return reason_words("scored")
    return _said(path.deciding or "", rare, "dropped")


def _said(reason: str, rare: frozenset[str], verb: str) -> str:
    if reason in rare:
        return f"{verb} for {count(len(rare), 'other reason')}"
    words = reason_words(reason)
    return words if verb == "not read" or reason in ("written", "alone") else f"{verb}: {words}"


def _rare(reasons: Counter[str]) -> frozenset[str]:
    """Reasons merged into one stop: all but the most frequent ones."""
    ranked = sorted(reasons, key=lambda reason: (-reasons[reason], reason))
    rest = ranked[_MOST_REASONS:]
    return frozenset(rest if len(rest) > 1 else ())


def _tally(paths: Sequence[FlowPath], reason: Callable[[FlowPath], str | None]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for path in paths:
        name = reason(path)
        if name is not None:
            counted[name] += path.rows
    return counted


_WHILE = {"read": "reading", "refine": "refining", "score": "scoring"}


def trouble_section(summary: Summary) -> Sequence[Section]:
    """Rows and candidates that could not be read, refined or scored, with the reasons."""
    title = "Rows and versions that could not be used, and why"
    if not summary.troubles:
        all_well = "Every row could be read, and every version has text and numbers."
        return (Section(key="troubles", title=title, paragraphs=(all_well,)),)
    counted: Counter[tuple[str, str]] = Counter()
    for trouble in summary.troubles:
        counted[trouble.stage, trouble.reason] += trouble.count
    ranked = counted.most_common(_MOST_BARS)
    bars = [(f"{_WHILE[stage]}: {reason_words(reason)}", n) for (stage, reason), n in ranked]
    (stage, reason), times = ranked[0]
    return (
        Section(
            key="troubles",
            title=title,
            paragraphs=(_TROUBLES_TEXT,),
            figures=(
                Figure(
                    title=f"Most often, while {_WHILE[stage]}: {reason_words(reason)} ({times:,})",
                    alt="How often each reason occurred.",
                    draw=partial(
                        charts.bar_chart,
                        bars,
                        unit="rows or versions",
                        tint="lost",
                        shown="{:,.0f}".format,
                    ),
                    table=_trouble_table(summary),
                    note=_more_reasons(len(counted)),
                    layout="beside",
                ),
            ),
        ),
    )


def _more_reasons(reasons: int) -> str:
    more = reasons > _MOST_BARS
    return f"The picture shows the {_MOST_BARS} most frequent of {reasons}." if more else ""


def _trouble_table(summary: Summary) -> Table:
    return Table(
        caption="Every reason, with what was noted for one of them",
        columns=(
            Column(name="while"),
            *schema_columns(DECISIONS, ("reason", "step")),
            Column(name="count", style="count"),
            Column(name="for example"),
        ),
        rows=tuple(
            (
                _WHILE[t.stage],
                f"{reason_words(t.reason)} ({t.reason})",
                step_words(t.step) if t.step else None,
                t.count,
                t.detail[:_DETAIL_CHARACTERS] if t.detail else None,
            )
            for t in summary.troubles
        ),
    )


_ASKED_WORDS: Mapping[str, str] = {
    "asked": "requests",
    "from_journal": "answered from the teacher cache",
    "answered": "answered by the teacher",
    "failed": "failed",
    "under_way": "stopped before the answer came",
    "prompt_tokens": "prompt tokens",
    "completion_tokens": "tokens written",
    "seconds": "seconds of waiting, summed over requests",
    "cost": "cost",
    "cost_estimated": "cost estimated from expected lengths",
    "cost_from_journal": "earlier cost of the cached answers",
    "spent_before": "paid by this run before it was restarted",
    "currency": "currency",
}


def _asked_rows(account: Account) -> Iterator[tuple[str, str | int | float]]:
    """Counts of the teacher in words; without prices, costs are unknown and left out."""
    for name, value in account.teacher:
        kind, _, which = name.partition(": ")
        if account.currency is None and (kind.startswith("cost") or kind == "spent_before"):
            continue
        words = _ASKED_WORDS.get(kind, kind.replace("_", " "))
        yield f"{words}: {which}" if which else words, value


def account_section(summary: Summary) -> Sequence[Section]:
    """Time by stage, and the teacher's calls and cost."""
    account = summary.account
    if not account.seconds and not account.teacher:
        return ()
    total = sum(seconds for _, seconds in account.seconds)
    figures: tuple[Figure, ...] = ()
    if account.seconds:
        slowest, most = max(account.seconds, key=lambda s: s[1])
        figures = (
            Figure(
                title=f"{slowest} took {duration(most)} of {duration(total)}",
                alt="Seconds that each stage took.",
                draw=partial(
                    charts.bar_chart,
                    account.seconds,
                    unit="time (s)",
                    tint="original",
                    shown=duration,
                ),
                table=Table(
                    caption="Time by stage (s)",
                    columns=(Column(name="stage"), Column(name="seconds", style="number")),
                    rows=account.seconds,
                ),
            ),
        )
    tables: tuple[Table, ...] = ()
    if account.teacher:
        tables = (
            Table(
                caption="Teacher calls and replies",
                columns=(Column(name="what"), Column(name="value", style="number")),
                rows=tuple(_asked_rows(account)),
                note="" if account.currency else "No prices were given, so there is no cost.",
            ),
        )
    return (Section(key="cost", title="Time and cost", figures=figures, tables=tables),)


def provenance_section(summary: Summary) -> Sequence[Section]:
    """Settings, versions and inputs needed to repeat the run."""
    student = [("student", summary.student), ("fingerprint", summary.fingerprint)]
    student += [("other students with scores", name) for name in summary.other_students]
    rows = (*((k, v) for k, v in student if v), *summary.provenance)
    if not rows:
        return ()
    return (
        Section(
            key="settings",
            title="Settings and provenance",
            paragraphs=("Contents of the run's manifest.json, without secrets.",),
            tables=(
                Table(
                    caption=f"All {count(len(rows), 'entry', 'entries')}",
                    columns=(Column(name="name"), Column(name="value")),
                    rows=rows,
                ),
            ),
            folded=True,
            in_text=False,
        ),
    )
