"""Report page of an experiment: a sentence first, then the table and the figures."""

from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

from tutelage.data.schemas import COMPARISONS, EFFICIENCIES
from tutelage.evaluation import UNITS
from tutelage.experiments.prove.compare import (
    NO_ROOM,
    OK,
    ORACLE,
    ORACLE_WORSE,
    UNGATED,
    ArmEfficiency,
    Compared,
    contrasts_of,
    roles_of,
)
from tutelage.experiments.prove.config import UNTRAINED, Balance, ProveSettings
from tutelage.reporting import Cell, Column, Fact, Figure, Section, Table, schema_columns

BALANCE_WORDS: Mapping[Balance, str] = {
    "examples": "the same number of examples",
    "tokens": "the same number of trained tokens",
}
_RIGHT = "share right"
_SMALL_P = 0.001


def headline(compared: Sequence[Compared], settings: ProveSettings, *, primary: str) -> list[str]:
    """Result of the experiment, in one sentence for each student and balance.

    The contrast of chosen and rejected versions comes first, where there is one: it has the most
    power. Then choice minus reference.

    Args:
        compared: All comparisons.
        settings: The experiment.
        primary: The task that decides.
    """
    contrasts = [
        sentence(c, settings)
        for pair in contrasts_of(settings)
        for c in _rows_of(compared, pair, primary=primary)
        if pair != (settings.choice, settings.reference)
    ]
    found = _rows_of(compared, (settings.choice, settings.reference), primary=primary)
    if not found:
        pair = f"{settings.choice} and {settings.reference}"
        said = f"No result yet: {pair} have no finished seed in common on {primary}, or their"
        return [*contrasts, f"{said} training rows are the same."]
    return [*contrasts, *(sentence(c, settings) for c in found)]


def _rows_of(
    compared: Sequence[Compared], pair: tuple[str, str], *, primary: str
) -> list[Compared]:
    return [
        c
        for c in compared
        if (c.arm, c.against) == pair and c.task == primary and c.measure == "value"
    ]


def efficiency_words(
    found: Sequence[ArmEfficiency], settings: ProveSettings, *, primary: str
) -> list[str]:
    """Efficiency of the selection on the primary task: one sentence per student and balance.

    Args:
        found: All efficiencies.
        settings: The experiment.
        primary: The task that decides.
    """
    roles = roles_of(settings)
    if roles is None:
        return []
    oracle, ungated = roles
    percent = round(100 * settings.level)
    told = []
    for one in found:
        if (one.arm, one.task, one.measure) != (settings.choice, primary, "value"):
            continue
        where = f"{one.task}, {one.student}, {BALANCE_WORDS[one.balance]}"
        room = f"{oracle} minus {ungated} is {_signed(one.room)}"
        if one.status == OK:
            told.append(
                f"Efficiency of {one.arm} ({where}): it reaches {one.efficiency:.2f} of what "
                f"{oracle} gains over {ungated} ({percent} % interval {one.low:.2f} to "
                f"{one.high:.2f}); {room}."
            )
        else:
            why = {
                NO_ROOM: "cannot be distinguished from 0, so the efficiency is undefined",
                ORACLE_WORSE: "is below 0, so the efficiency is undefined",
            }[one.status]
            told.append(f"No efficiency of {one.arm} ({where}): {room}, which {why}.")
    return told


def sentence(c: Compared, settings: ProveSettings) -> str:
    """Comparison in plain words, with its interval and detectable effect."""
    i = c.interval
    shown = is_shown(c, settings)
    if " - " in c.student:
        one, other = c.student.split(" - ", 1)
        start = (
            f"The effect on {c.task} of training on {c.arm} instead of {c.against}, with "
            f"{BALANCE_WORDS[c.balance]}, differs by {_signed(i.mean)} {unit_of(c, settings)} "
            f"between students ({one} minus {other})"
        )
        verdict = "this difference is significant" if shown else "no significant difference"
    else:
        start = (
            f"Training {c.student} on {c.arm} instead of {c.against}, with "
            f"{BALANCE_WORDS[c.balance]}, changed {c.task} by {_signed(i.mean)} "
            f"{unit_of(c, settings)}"
        )
        better = "better" if i.mean > 0 else "worse"
        verdict = f"{c.arm} was {better}" if shown else "no significant difference"
    percent = round(100 * settings.level)
    if i.seeds == 1:
        verdict += " (with one seed the interval covers items only)"
    if i.seeds == 1:
        found = "With one seed, no difference counts as shown, however large it is."
    elif i.standard_error == 0.0:
        found = (
            "The values do not vary between items and seeds, so no detectable effect can be given."
        )
    else:
        found = (
            f"Minimum detectable effect (80 % power): {i.detectable:.3g}; "
            f"{c.detectable_corrected:.3g} after correction for "
            f"{_counted(c.comparisons, 'comparison')}."
        )
    found += _edge(c, settings)
    if c.seeds_left_out:
        found += (
            f" Left out: {_counted(c.seeds_left_out, 'seed')} in which a training run gave no "
            "value at all, which is a failure of one arm and not chance."
        )
    return (
        f"{start} ({percent} % interval {_signed(i.low)} to "
        f"{_signed(i.high)}; {_counted(i.seeds, 'seed')}, {_counted(i.items, 'item')}): {verdict}. "
        f"{found}"
    )


def is_shown(c: Compared, settings: ProveSettings) -> bool:
    """Whether the corrected p-value is below 1 - level.

    The interval has no say: it is not corrected, and as a bootstrap it can differ from the p-value
    at the edge. With one seed nothing is shown: it knows other questions, not another training.
    """
    return c.interval.seeds > 1 and c.p_corrected < 1 - settings.level


def _edge(c: Compared, settings: ProveSettings) -> str:
    """Sentence on why verdict and interval disagree; empty where they agree."""
    if c.interval.seeds == 1 or c.interval.excludes_zero == is_shown(c, settings):
        return ""
    lies = "outside" if c.interval.excludes_zero else "inside"
    corrected = " after correction" if c.p_corrected != c.interval.p_value else ""
    return f" 0 lies {lies} the interval, but the p-value decides: {_p(c.p_corrected)}{corrected}."


def _p(value: float) -> str:
    """P-value as in a paper.

    Examples:
        >>> _p(0.0581), _p(0.0004), _p(1.0)
        ('p = .058', 'p < .001', 'p = 1.000')
    """
    return "p < .001" if value < _SMALL_P else f"p = {value:.3f}".replace("= 0.", "= .")


def unit_of(c: Compared, settings: ProveSettings) -> str:
    """Unit of a comparison's numbers."""
    if c.measure == "right":
        return _RIGHT
    kinds = {task.name: task.kind for task in settings.tasks}
    return UNITS[kinds.get(c.task, "held_out")]


def _signed(value: float) -> str:
    return f"{value:+.3g}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def facts_of(
    compared: Sequence[Compared], settings: ProveSettings, done: Mapping[str, Any]
) -> tuple[Fact, ...]:
    """Headline numbers of an experiment.

    Args:
        compared: All comparisons.
        settings: The experiment.
        done: The counts of finished and planned cells.
    """
    return (
        Fact(value=f"{done['done']:,} of {done['cells']:,}", label="cells finished"),
        Fact(value=f"{settings.examples:,}", label="examples in a set"),
        Fact(value=f"{len(settings.seeds)}", label="seeds"),
        Fact(
            value=f"{sum(is_shown(c, settings) for c in compared):,} of {len(compared):,}",
            label="significant comparisons",
        ),
    )


def sections_of(
    compared: Sequence[Compared],
    settings: ProveSettings,
    *,
    primary: str,
    sets: Sequence[Mapping[str, Any]],
    cells: Sequence[Mapping[str, Any]],
    efficiencies: Sequence[ArmEfficiency] = (),
) -> list[Section]:
    """Sections of the page.

    Args:
        compared: All comparisons.
        settings: The experiment.
        primary: The task that decides.
        sets: Sets of the manifest: the whole set of each arm.
        cells: Cells of the manifest: what each training was given.
        efficiencies: Efficiencies of all arms, where an oracle and an ungated arm are there.
    """
    ordered = sorted(compared, key=lambda c: (c.task != primary, c.task, c.measure))
    tasks = list(dict.fromkeys(c.task for c in ordered))
    chapters = [
        Section(
            key=f"task-{number}",
            title=f"{task}{' (decides)' if task == primary else ''}",
            paragraphs=_about(task, settings),
            tables=(_table([c for c in ordered if c.task == task], settings),),
        )
        for number, task in enumerate(tasks)
    ]
    if efficiencies:
        chapters.append(_efficiency_section(efficiencies, settings, primary=primary))
    pictures = [_figure(ordered, settings, primary=primary)] if ordered else []
    if pictures:
        chapters.append(
            Section(
                key="pictures",
                title="All arms compared with the reference",
                figures=tuple(f for group in pictures for f in group),
            )
        )
    return [*chapters, _sets_section(sets, cells, settings), _how_section(settings)]


def _efficiency_section(
    found: Sequence[ArmEfficiency], settings: ProveSettings, *, primary: str
) -> Section:
    oracle, ungated = roles_of(settings) or (ORACLE, UNGATED)
    ordered = sorted(found, key=lambda one: (one.task != primary, one.task, one.measure))
    return Section(
        key="efficiency",
        title="Efficiency: the part of the possible gain that is reached",
        paragraphs=(
            (
                f"(arm - {ungated}) / ({oracle} - {ungated}), with Fieller's interval over seeds "
                f"and items: 1 is as good as {oracle}, which knows the faulty rows; 0 is no better "
                f"than {ungated}."
            ),
        ),
        tables=(
            Table(
                caption="Efficiency of each arm",
                columns=(
                    *schema_columns(
                        EFFICIENCIES,
                        (
                            *("arm", "student", "balance", "task", "measure"),
                            *("efficiency", "low", "high"),
                        ),
                    ),
                    Column(name=f"arm - {ungated}", style="number"),
                    Column(name=f"{oracle} - {ungated}", style="number"),
                    *schema_columns(EFFICIENCIES, ("seeds", "items", "status")),
                ),
                rows=tuple(map(_efficiency_row, ordered)),
                note="no room: the oracle's gain cannot be distinguished from 0. oracle worse: it "
                "is below 0. In both cases the ratio is undefined.",
            ),
        ),
    )


def _efficiency_row(one: ArmEfficiency) -> tuple[Cell, ...]:
    measure = _RIGHT if one.measure == "right" else "value"
    where = (one.arm, one.student, one.balance, one.task, measure)
    ratio = (one.efficiency, one.low, one.high)
    return (*where, *ratio, one.gain, one.room, one.seeds, one.items, one.status.replace("_", " "))


def _about(task: str, settings: ProveSettings) -> tuple[str, ...]:
    kinds = {t.name: t.kind for t in settings.tasks}
    unit = UNITS[kinds.get(task, "held_out")]
    return (f"Unit: {unit}. Higher is better; a mean above 0 favours the first arm.",)


def _table(rows: Sequence[Compared], settings: ProveSettings) -> Table:
    cells: list[tuple[Cell, ...]] = [
        (
            f"{c.arm} - {c.against}",
            c.student,
            c.balance,
            "share right" if c.measure == "right" else "value",
            c.interval.mean,
            c.interval.low,
            c.interval.high,
            c.p_corrected,
            c.interval.detectable if c.knows_what_it_could_find else None,
            c.detectable_corrected if c.knows_what_it_could_find else None,
            c.interval.seeds,
            c.seeds_left_out,
            c.interval.items,
            c.items_left_out,
            "yes" if is_shown(c, settings) else "no",
        )
        for c in rows
    ]
    return Table(
        caption="Differences with their intervals",
        columns=(
            Column(name="arms"),
            *schema_columns(
                COMPARISONS,
                (
                    *("student", "balance", "measure", "mean", "low", "high", "p_corrected"),
                    *("detectable", "detectable_corrected"),
                    *("seeds", "seeds_left_out", "items", "items_left_out"),
                ),
            ),
            Column(name="shown"),
        ),
        rows=tuple(cells),
        note=f"p is corrected over all comparisons of the same outcome. It alone decides what is "
        f"shown: below {1 - settings.level:.2g}, with two seeds or more. The interval is not "
        "corrected and comes from a bootstrap, so the two can disagree in borderline cases. The "
        "minimum detectable effect is the true difference that this design finds with a "
        "probability of 80 %, without and with the correction. Left out: finished seeds of "
        "which one side has no value at all; items without a value.",
    )


def _figure(
    compared: Sequence[Compared], settings: ProveSettings, *, primary: str
) -> tuple[Figure, ...]:
    found = []
    for student in settings.students:
        for balance in settings.balance:
            rows = [
                (c.arm, c.interval.mean, c.interval.low, c.interval.high)
                for c in compared
                if (c.student, c.balance, c.task, c.measure)
                == (student.name, balance, primary, "value")
                and c.against == settings.reference
            ]
            if rows:
                found.append(_picture(rows, student.name, balance, settings, primary=primary))
    return tuple(found)


def _picture(
    rows: Sequence[tuple[str, float, float, float]],
    student: str,
    balance: Balance,
    settings: ProveSettings,
    *,
    primary: str,
) -> Figure:
    from tutelage.reporting.charts import interval_chart

    caption = f"{primary}: arm minus {settings.reference}, {student}, equal {balance}"
    return Figure(
        title=caption,
        alt=f"{caption}: mean difference with its interval for each arm.",
        draw=partial(
            interval_chart,
            rows,
            first=[settings.choice],
            unit=f"less {settings.reference}",
            wide=False,
        ),
        table=Table(
            caption=caption,
            columns=schema_columns(COMPARISONS, ("arm", "mean", "low", "high")),
            rows=tuple(rows),
        ),
        in_text=False,
    )


def _sets_section(
    sets: Sequence[Mapping[str, Any]], cells: Sequence[Mapping[str, Any]], settings: ProveSettings
) -> Section:
    return Section(
        key="sets",
        title="The sets",
        paragraphs=(
            "Every cell samples its rows from the complete set of its arm.",
            "Two arms differ only by the rows that they do not share.",
        ),
        tables=(
            _in_common_table(cells, settings),
            Table(
                caption="Complete set of each arm",
                columns=(
                    *schema_columns(COMPARISONS, ("student", "arm")),
                    Column(name="rows", style="count"),
                    Column(name="trained tokens per row", style="number"),
                    Column(name="rows that do not fit", style="count"),
                ),
                rows=tuple(
                    (s["student"], s["arm"], s["rows"], s["mean_tokens"], s["do_not_fit"])
                    for s in sets
                ),
            ),
        ),
    )


def _in_common_table(cells: Sequence[Mapping[str, Any]], settings: ProveSettings) -> Table:
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for cell in cells:
        if cell["rows"]:
            groups.setdefault((cell["student"], cell["balance"], cell["arm"]), []).append(cell)
    beside = (settings.choice, settings.reference)
    return Table(
        caption="Training rows of each arm, and their overlap with other arms",
        columns=(
            *schema_columns(COMPARISONS, ("student", "balance", "arm")),
            Column(name="rows", style="number"),
            *(Column(name=f"also in {arm}", style="number") for arm in beside),
        ),
        rows=tuple(
            (
                *place,
                fmean(cell["rows"] for cell in group),
                *(fmean(cell["in_common"][arm] for cell in group) for arm in beside),
            )
            for place, group in groups.items()
        ),
        note="Rows per training run, mean over the seeds. Shared: the same version of the same "
        "question.",
    )


def _how_section(settings: ProveSettings) -> Section:
    train = settings.train
    trained = (
        f"Every student was trained from the same weights ({train.method}, "
        f"{_counted(train.epochs, 'epoch')}, learning rate {train.peak_learning_rate:g}, "
        f"{_counted(train.batch_examples, 'row')} per step), with loss on responses only. "
        f"Seeds {', '.join(map(str, settings.seeds))} determine the sample of examples and "
        "their order. Arms with the same seed use the questions in the same order, as far as their "
        "sets contain them."
    )
    correction = "after Holm" if settings.correction == "holm" else "in a fixed sequence"
    measured = (
        "Intervals come from a bootstrap over seeds and items, widened to Student's t for the "
        f"small number of seeds; p-values are corrected {correction}. {UNTRAINED.capitalize()} is "
        "the untrained student."
    )
    return Section(key="how", title="Method", paragraphs=(trained, measured))
