"""Sections that compare: baselines, sources, teachers and single examples."""

from collections.abc import Sequence
from functools import partial

from tutelage.data.schemas import CANDIDATES, DECISIONS, EXAMPLES
from tutelage.reporting import charts
from tutelage.reporting.blocks import (
    Cell,
    Column,
    Comparison,
    Figure,
    Section,
    Side,
    Table,
    difference,
    schema_columns,
    whole,
)
from tutelage.reporting.metric_section import with_unit
from tutelage.reporting.number_format import reason_words, set_words, share, step_words
from tutelage.reporting.run_summary import (
    CHOSEN,
    Mean,
    Refinement,
    SetTally,
    SourceTally,
    Summary,
    TeacherTally,
)

NOT_NAMED = "(not named)"
MOST_BARS = 12

_NULLS_TEXT = (
    "Each baseline has as many examples as the selection, if there are enough. A selection that "
    "resembles a random set or the longest responses hardly depends on the student. These numbers "
    "describe the sets; only training shows whether one of them is better."
)


def null_section(summary: Summary) -> Sequence[Section]:
    """Comparison of the selection with sets of the same size chosen without the student."""
    if len(summary.sets) < 2:  # noqa: PLR2004  (nothing to compare it with)
        return ()
    measures = [("response_tokens", [s.tokens for s in summary.sets])]
    measures += [
        (metric, [s.means[index] for s in summary.sets])
        for index, metric in enumerate(summary.metrics)
    ]
    return (
        Section(
            key="nulls",
            title="The selection compared with baselines",
            paragraphs=(_NULLS_TEXT,),
            tables=(_null_table(summary),),
            figures=tuple(
                _null_figure(summary.sets, name, means)
                for name, means in measures
                if any(m is not None for m in means)
            ),
        ),
    )


def _null_table(summary: Summary) -> Table:
    return Table(
        caption="Size, length and metrics of the selection and its baselines (means)",
        columns=(
            Column(name="set"),
            Column(name="examples", style="count"),
            Column(name="rewritten", style="share"),
            Column(name="tokens", style="number"),
            *(Column(name=metric, style="number") for metric in summary.metrics),
            Column(name="not scored", style="count"),
        ),
        rows=tuple(
            (
                _set_name(s),
                s.size,
                s.refined_fraction,
                s.tokens.value if s.tokens else None,
                *(m.value if m else None for m in s.means),
                s.unscored,
            )
            for s in summary.sets
        ),
    )


def _set_name(tally: SetTally) -> str:
    seeds = f" (mean of {tally.seeds} draws)" if tally.seeds > 1 else ""
    return f"{set_words(tally.name)}{seeds}"


def _null_figure(sets: Sequence[SetTally], metric: str, means: Sequence[Mean | None]) -> Figure:
    rows = [
        (set_words(s.name), mean.value, mean.low, mean.high)
        for s, mean in zip(sets, means, strict=True)
        if mean is not None
    ]
    return Figure(
        title=_null_title(metric, sets, means),
        alt=f"Mean {metric} of each set with its 95 % interval.",
        draw=partial(
            charts.interval_chart,
            rows,
            first=[set_words(CHOSEN)],
            unit=f"mean {with_unit(metric)}",
            wide=False,
        ),
        table=Table(
            caption=f"Mean {with_unit(metric)} with its 95 % interval",
            columns=(
                Column(name="set"),
                *(Column(name=n, style="number") for n in ("mean", "from", "to")),
            ),
            rows=tuple(rows),
        ),
        in_text=False,  # the means are in the table of all sets
    )


_TWO, _LEAST = (CHOSEN, "random"), 2
"""Sets named in a title, and the least number of examples for that."""


def _null_title(metric: str, sets: Sequence[SetTally], means: Sequence[Mean | None]) -> str:
    by_name = {s.name: mean for s, mean in zip(sets, means, strict=True)}
    mine, theirs = by_name.get(CHOSEN), by_name.get("random")
    words = "length" if metric == "response_tokens" else metric
    if mine is None or theirs is None or min(s.size for s in sets if s.name in _TWO) < _LEAST:
        return f"Mean {words} of each set"
    if not mine.differs_from(theirs):
        return f"Mean {words}: no clear difference from random"
    side = "above" if mine.value > theirs.value else "below"
    return f"Mean {words}: the selection is {side} random"


def source_section(summary: Summary) -> Sequence[Section]:
    """Outcome of the examples of each source."""
    if not any(s.source is not None for s in summary.sources):
        return ()
    decided = bool(summary.rule) or summary.kept > 0
    shown = summary.sources[:MOST_BARS]
    bars = [
        (
            s.source or NOT_NAMED,
            {
                "kept, rewritten": float(s.kept_refined),
                "kept as it was": float(s.kept_original),
                "not kept": float(s.examples - s.kept),
            },
        )
        for s in shown
    ]
    tints = {"kept, rewritten": "refinement", "kept as it was": "original", "not kept": "refused"}
    best = max(shown, key=lambda s: s.kept / (s.examples or 1))
    figure = Figure(
        title=f"Most is kept of {best.source or NOT_NAMED} ({share(best.kept / best.examples)})",
        alt="Share of each source's examples that was kept as it was, kept rewritten, or not kept.",
        draw=partial(charts.stacked_chart, bars, tints=tints, unit="share of examples (%)"),
        table=_source_table(summary, summary.sources),
        note=_rest(len(summary.sources)),
        layout="beside",
    )
    return (
        Section(
            key="sources",
            title="By source",
            figures=(figure,) if decided else (),
            tables=() if decided else (_source_table(summary, summary.sources),),
        ),
    )


def _rest(names: int) -> str:
    return f"The picture shows the {MOST_BARS} largest of {names}." if names > MOST_BARS else ""


def _source_table(summary: Summary, sources: Sequence[SourceTally]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            s.source or NOT_NAMED,
            s.examples,
            s.kept / s.examples if s.examples else None,
            s.kept_refined,
            s.kept_original,
            *s.means,
        )
        for s in sources
    ]
    return Table(
        caption="Examples by source; the metrics are means over their originals",
        columns=(
            *schema_columns(EXAMPLES, ("source",)),
            Column(name="examples", style="count"),
            *schema_columns(DECISIONS, ("kept",), style="share"),
            Column(name="rewritten", style="count"),
            Column(name="original", style="count"),
            *(Column(name=metric, style="number") for metric in summary.metrics),
        ),
        rows=tuple(rows),
    )


def teacher_section(summary: Summary) -> Sequence[Section]:
    """Outcome of the candidates of each teacher."""
    if not summary.written:
        return ()
    shown = summary.written[:MOST_BARS]
    bars = [
        (
            _writer(t),
            {
                "chosen": float(t.chosen),
                "written, not chosen": float(t.written - t.chosen),
                "no usable text": float(t.candidates - t.written),
            },
        )
        for t in shown
    ]
    tints = {"chosen": "chosen", "written, not chosen": "refused", "no usable text": "lost"}
    asked = sum(t.candidates for t in summary.written)
    written = sum(t.written for t in summary.written)
    chosen = sum(t.chosen for t in summary.written)
    return (
        Section(
            key="teachers",
            title="By teacher",
            figures=(
                Figure(
                    title=f"{written:,} of {asked:,} versions are usable, {chosen:,} were chosen",
                    alt="Share of each teacher's versions that were chosen, not chosen, unusable.",
                    draw=partial(
                        charts.stacked_chart, bars, tints=tints, unit="share of versions (%)"
                    ),
                    table=_teacher_table(summary),
                    note=_rest(len(summary.written)),
                    layout="beside",
                ),
            ),
        ),
    )


def _writer(tally: TeacherTally) -> str:
    return f"{tally.teacher or NOT_NAMED}: {step_words(tally.step)}"


def _teacher_table(summary: Summary) -> Table:
    return Table(
        caption="Versions by teacher and step; the metrics are means over the scored versions",
        columns=(
            *schema_columns(CANDIDATES, ("teacher",)),
            Column(name="kind of rewrite"),
            *(
                Column(name=name, style="count")
                for name in ("requested", "usable", "scored", "chosen")
            ),
            *(Column(name=metric, style="number") for metric in summary.metrics),
        ),
        rows=tuple(
            (
                t.teacher or NOT_NAMED,
                step_words(t.step),
                t.candidates,
                t.written,
                t.scored,
                t.chosen,
                *t.means,
            )
            for t in summary.written
        ),
    )


def comparison_sections(summary: Summary) -> Sequence[Section]:
    """Clearest accepted and rejected rewrites, compared word by word."""
    how = "Rewrites that pass or fail their closest comparison by the widest margin."
    marks = "Words that only one side has are marked: struck through before, underlined after."
    parts = (
        ("accepted", "The clearest accepted rewrites", summary.accepted),
        ("refused", "The clearest rejected rewrites", summary.refused),
    )
    return tuple(
        Section(
            key=key,
            title=title,
            paragraphs=(f"{how} At most one per example. {marks}",),
            comparisons=tuple(_comparison(r, place) for place, r in enumerate(shown, start=1)),
            in_text=False,
        )
        for key, title, shown in parts
        if shown
    )


def _sides(shown: Refinement) -> tuple[Side | None, Side]:
    before, after = shown.before, shown.after
    if before is None:
        alone = Side(
            title="Version",
            instruction=whole(after.instruction),
            response=whole(after.response),
        )
        return None, alone
    old_instruction, new_instruction = difference(before.instruction, after.instruction)
    old_response, new_response = difference(before.response, after.response)
    return (
        Side(title="Original", instruction=old_instruction, response=old_response),
        Side(title="Rewrite", instruction=new_instruction, response=new_response),
    )


def _comparison(shown: Refinement, place: int) -> Comparison:
    before, after = _sides(shown)
    row = f"row {shown.row:,}" if shown.row is not None else f"example {shown.example_id}"
    about = [f"example {shown.example_id}"]
    about += [f"source {shown.source}"] if shown.source else []
    about += [f"written by {shown.teacher}"] if shown.teacher else []
    about += [f"decision: {reason_words(shown.reason)}"] if shown.reason else []
    return Comparison(
        title=f"{place}. {row}: {step_words(shown.step)} (distance {shown.clearness:+.3f})",
        about="; ".join(about),
        before=before,
        after=after,
        table=Table(
            caption="Metrics of the student",
            columns=(
                *schema_columns(DECISIONS, ("step",)),
                *(Column(name=name, style="number") for name, _, _ in shown.numbers),
            ),
            rows=(
                *([("original", *(b for _, b, _ in shown.numbers))] if before else []),
                ("rewrite", *(a for _, _, a in shown.numbers)),
            ),
        ),
    )
