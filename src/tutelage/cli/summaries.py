"""Texts of command results for people.

Each function turns the facts that a command prints as JSON into sentences and tables. A sentence
repeats numbers of these facts and concludes nothing from them.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tutelage.cli.output import Block, Table

Facts = Mapping[str, Any]


def counted(count: int, noun: str) -> str:
    """Count with its noun in singular or plural.

    Examples:
        >>> counted(1, "row"), counted(1200, "row")
        ('1 row', '1,200 rows')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


_EXPLAINED = frozenset(("reason", "status", "verdict"))
"""Columns with short names, each followed by a column with its explanation."""


def counts(title: str, name: str, values: Mapping[str, int], *, of: str) -> Iterable[Table]:
    """Table of counts, the largest first; None without counts.

    Args:
        title: Title of the table.
        name: The column of the names.
        values: Counts by name.
        of: The column of the counts.
    """
    if not values:
        return
    ordered = sorted(values.items(), key=lambda pair: (-pair[1], pair[0]))
    if name not in _EXPLAINED:
        yield Table(title=title, columns=(name, of), rows=tuple(ordered))
        return
    from tutelage.reporting.number_format import reason_words

    rows = tuple((key, number, reason_words(key)) for key, number in ordered)
    yield Table(title=title, columns=(name, of, "meaning"), rows=rows)


def run_text(found: Facts) -> Iterable[Block]:
    """Text of the result of `run` and `demo`."""
    from tutelage.pipeline.summary_text import overruled, sentences

    yield from sentences(found)
    yield from counts("", "reason", found["select"]["reasons"], of="examples")
    yield from overruled(found["select"])
    yield f"Report: {found['report']}" if found["report"] else f"Run folder: {found['run']}"


def estimate_text(found: Facts) -> Iterable[Block]:
    """The result of `--dry-run`."""
    from tutelage.pipeline.summary_text import estimate_facts, estimate_total, part_time

    yield from estimate_facts(found)
    yield Table(
        title="Work",
        columns=("part", "count", "unit", "tokens", "time", "basis"),
        rows=tuple(
            (
                part["stage"],
                part["count"],
                part["unit"],
                "unknown" if part["tokens"] is None else part["tokens"],
                part_time(part),
                part["basis"],
            )
            for part in found["work"]
        ),
    )
    yield from estimate_total(found)


def load_text(found: Facts) -> Iterable[Block]:
    """Text of the result of `load`."""
    from tutelage.pipeline.summary_text import rows_read

    yield rows_read(found["load"])
    yield from counts("", "candidates", found["load"]["candidates_by_step"], of="count")
    yield f"Run folder: {found['run']}"


def refine_text(found: Facts) -> Iterable[Block]:
    """Text of the result of `refine`."""
    from tutelage.pipeline.summary_text import rewritten, rows_read

    yield rows_read(found["load"])
    written = rewritten(found["refine"])
    yield from written or ["Teacher: no rewrites."]
    yield f"Run folder: {found['run']}"


def sample_text(found: Facts) -> Iterable[Block]:
    """Text of the result of `sample`."""
    from tutelage.pipeline.summary_text import rows_read

    sampled = found["sample"]
    statuses = sampled["statuses"]
    good, total = statuses.get("ok", 0), sum(statuses.values())
    yield rows_read(found["load"])
    yield f"Teacher: {good:,} of {counted(total, 'response')} usable."
    yield from counts(
        "", "status", {k: n for k, n in statuses.items() if k != "ok"}, of="responses"
    )
    teachers = sampled.get("teachers") or {"": sampled["teacher"]}
    for name, paid in teachers.items():
        who = f"{name}: " if name else "Calls: "
        cost = f", cost {paid['cost']:.4f} {paid['currency']}" if paid["currency"] else ""
        yield f"{who}{paid['answered']:,} new, {paid['from_journal']:,} cached{cost}."
    if accepted := sampled.get("accepted"):
        full, short = accepted["instructions_full"], accepted["instructions_short"]
        yield (
            f"Accepted: {counted(accepted['responses'], 'response')}; {full:,} of "
            f"{counted(full + short, 'instruction')} reached {accepted['wanted']}."
        )
    yield f"Run folder: {found['run']}"


def verify_text(found: Facts) -> Iterable[Block]:
    """The result of `verify`."""
    noun = "candidate" if "check" in found else "row"
    check = f" with the check {found['check']}" if "check" in found else ""
    yield f"Checked {counted(found['rows'], noun)}{check}."
    yield from counts("", "verdict", found["verdicts"], of=f"{noun}s")
    yield f"Verdicts: {found['out']}"


def filter_text(found: Facts) -> Iterable[Block]:
    """Text of the result of `filter`."""
    yield f"Filters kept {found['kept']:,} of {counted(found['candidates'], 'candidate')}."
    rows = tuple(
        (name, reason, count)
        for name, reasons in found["filters"].items()
        for reason, count in reasons.items()
        if reason != "seconds"
    )
    if rows:
        yield Table(title="", columns=("filter", "reason", "candidates"), rows=rows)
    yield f"Decisions: {found['out']}"


def compared_filters_text(found: Facts) -> Iterable[Block]:
    """Text of the result of `filter --compare`."""
    yield "Each filter was applied separately; nothing was written."
    names = ("filter", "kept", "candidates", "kept_fraction", "length_correlation")
    yield table_of("", names, found["filters"], schema="FILTER_COMPARISON")
    if found["overlaps"]:
        names = ("filter_a", "filter_b", "kept_by_both", "kept_by_either", "jaccard")
        yield table_of(
            "Overlap of what two filters keep", names, found["overlaps"], schema="FILTER_OVERLAPS"
        )
    dropped = [row for row in found["reasons"] if not row["kept"]]
    if dropped:
        shown = ("filter", "reason", "candidates")
        yield table_of("Reasons for dropping", shown, dropped, schema="FILTER_REASONS")


def score_text(found: Facts) -> Iterable[Block]:
    """Text of the result of `score`, of a file or of a run."""
    statuses = found.get("scores_by_status") or found.get("by_status") or {}
    total = sum(statuses.values())
    student = found["student"]
    name = (
        student.get("model", student.get("fingerprint"))
        if isinstance(student, Mapping)
        else student
    )
    yield f"Scored {statuses.get('ok', 0):,} of {counted(total, 'row')} with {name}."
    yield from counts("", "status", {k: n for k, n in statuses.items() if k != "ok"}, of="rows")
    yield f"Scores: {found['out']}"


def recompute_text(found: Facts) -> Iterable[Block]:
    """Text of the result of `recompute`."""
    statuses = found["by_status"]
    good = statuses.get("ok", 0)
    yield f"Computed metrics for {good:,} of {counted(found['rows'], 'candidate')}."
    yield from counts(
        "", "status", {k: n for k, n in statuses.items() if k != "ok"}, of="candidates"
    )
    yield f"Scores: {found['out']}"


def delta_text(found: Facts) -> Iterable[Block]:
    """Text of the result of `delta`."""
    from tutelage.reporting.number_format import share

    others = {k: n for k, n in found["by_status"].items() if k != "ok"}
    if "mean_delta_loss" not in found:
        yield f"None of {counted(found['candidates'], 'candidate')} could be compared."
        yield from counts("Not compared", "status", others, of="candidates")
        return
    interval = "no interval"
    if found["interval_95"] is not None:
        low, high = found["interval_95"]
        interval = f"95 % CI {low:+.4f} to {high:+.4f}"
    scored = found["by_status"].get("ok", 0)
    yield (
        f"Mean loss before minus after: {found['mean_delta_loss']:+.4f} nats per token "
        f"({interval}; {counted(scored, 'candidate')} of "
        f"{counted(found['examples'], 'example')})."
    )
    of = "this candidate" if scored == 1 else "these candidates"
    yield f"More likely after training: {share(found['share_likelier'])} of {of}."
    yield from counts("Not compared", "status", others, of="candidates")
    for by in ("source", "step", "teacher"):
        if groups := found.get(f"by_{by}"):
            yield table_of(f"Each {by}", _group_columns(by), [_group(one, by) for one in groups])
    if "out" in found:
        yield f"Differences: {found['out']}"


def _group_columns(by: str) -> tuple[str, ...]:
    return (by, "candidates", "before", "after", "before minus after", "95 % CI", "likelier")


def _group(one: Facts, by: str) -> Facts:
    """Row of one source, step or teacher; without numbers where nothing of it was compared."""
    from tutelage.reporting.number_format import share

    def number(name: str) -> str:
        return "" if one.get(name) is None else f"{one[name]:+.4f}".removeprefix("+")

    interval, likelier = one.get("interval_95"), one.get("share_likelier")
    values = (
        str(one[by]),
        f"{one['candidates']:,}",
        number("nll_base"),
        number("nll_current"),
        number("mean_delta_loss"),
        "" if interval is None else f"{interval[0]:+.4f} to {interval[1]:+.4f}",
        "" if likelier is None else share(likelier),
    )
    return dict(zip(_group_columns(by), values, strict=True))


def select_text(found: Facts, *, run: Path) -> Iterable[Block]:
    """Text of the result of `select` in a run folder."""
    from tutelage.pipeline.summary_text import chosen, overruled
    from tutelage.selection.config import BASELINES

    rule = found["rule"]
    how = f", mode {rule['mode']}" if rule["rule"] == "srt" else ""
    how = f" of {rule['of']}" if rule["rule"] in BASELINES else how
    yield f"Rule: {rule['rule']}{how}."
    yield chosen(found)
    if found["rows_kept"] != found["kept"]:
        kept = found["rows_kept"]
        yield f"Rows: {counted(kept, 'candidate')} of these examples {_is(kept)} kept."
    yield from counts("", "reason", found["reasons"], of="examples")
    yield from counts(
        "Excluded from the selection", "verdict or filter", found["gated"], of="candidates"
    )
    yield from overruled(found)
    folder = Path(found["out"]) if "selection" in found else run
    nothing = "" if found["rows_kept"] else " (empty: nothing was kept)"
    yield f"Selected rows: {folder / 'selected.jsonl'}{nothing}"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def export_text(found: Facts) -> Iterable[Block]:
    """Text of the result of `export`; snippets to paste are not indented."""
    of_set = f" of the set `{found['set']}`" if "set" in found else ""  # pairs come from all
    yield f"Wrote {counted(found['rows'], 'row')}{of_set} in the format {found['to']}."
    yield from (f"Note: {note}" for note in found.get("notes", ()))
    if "card" in found:
        yield f"Data card: {found['card']}"
    place = "script" if "import " in found["snippet"] else "configuration"
    yield f"\nPaste this into your training {place}:\n\n{found['snippet'].rstrip()}\n"
    yield f"File: {found['file']}"
    if pushed := found.get("pushed"):
        yield f"Pushed: {pushed['url']} (revision {pushed['revision']})."


def doctor_text(found: Facts) -> Iterable[Block]:
    """Text of the result of `doctor`."""
    yield Table(title="Versions", columns=("name", "version"), rows=_pairs(found["versions"]))
    yield Table(title="Extras", columns=("name", "status"), rows=_pairs(found["extras"]))
    yield f"Processors: {found['cpus']}"
    yield f"Devices: {'; '.join(found['devices']) or 'unknown, torch is not installed'}"
    yield f"Sandbox for programs: {found['sandbox']['used']}"
    student = found.get("student")
    if student is None:
        return
    if "error" in student:
        yield f"Student {student['model']}: {student['error']}"
        if student["hint"]:
            yield f"hint: {student['hint']}"
        return
    yield f"Student {student.get('model')}: test example {student['probe']}."
    problems = student["template_problems"]
    yield from (f"Template: {problem}" for problem in problems)
    if not problems:
        yield "Template: no problems found."


def device_text(found: Facts) -> Iterable[Block]:
    """The result of `doctor --device`, in Markdown, as it can be pasted into an issue."""
    lines = found["lines"]
    yield from (f"Device {found['device']}", "", "| check | result |", "|---|---|")
    for line in lines:
        check, result = (line[name].replace("|", "\\|") for name in ("check", "result"))
        yield f"| {check} | {result} |"
    yield ""
    wrong = [line["check"] for line in lines if not line["healthy"]]
    yield (f"Failed checks: {'; '.join(wrong)}" if wrong else "All checks that ran passed.")


def truth_text(found: Facts) -> Iterable[Block]:
    """Text of the result of `doctor --trainer-truth`."""
    rows, same = found["rows"], found["findings"].get("same", 0)
    yield f"Compared {rows:,} of {counted(found['rows_in_file'], 'row')} of {found['file']}."
    yield f"{same:,} of them are trained on exactly the scored tokens."
    yield from counts("", "finding", found["findings"], of="rows")
    yield f"Tokens: {found['scored_tokens']:,} scored, {found['loss_tokens']:,} with loss."
    if found["not_the_same"]:
        names = tuple(found["not_the_same"][0])
        yield table_of("First rows that differ", names, found["not_the_same"])


def _pairs(values: Mapping[str, object]) -> tuple[tuple[object, ...], ...]:
    return tuple(values.items())


def _headings(schema: str) -> dict[str, str]:
    """Heading of each column of a stored table."""
    from tutelage.data import schemas

    return {field.name: schemas.column_facts(field).heading for field in getattr(schemas, schema)}


def table_of(
    title: str, names: tuple[str, ...], rows: Iterable[Facts], *, schema: str | None = None
) -> Table:
    """Table of some columns, under the same headings as in reports.

    Args:
        title: Title of the table.
        names: Names of the columns.
        rows: The rows.
        schema: Name of the schema whose headings its columns have; other columns are headed by
            their own names.
    """
    headings = {} if schema is None else _headings(schema)
    return Table(
        title=title,
        columns=tuple(headings.get(name, name.replace("_", " ")) for name in names),
        rows=tuple(tuple(row.get(name) for name in names) for row in rows),
    )


# ----------------------------------------------------------------------------------------------
# The text of the results of training, evaluation, ranking, drift and rounds.
#
# Each function turns the facts that a command prints as JSON into sentences and tables.
# ----------------------------------------------------------------------------------------------


_MOST_ENTRANTS = 50
_PARTS = ("low", "high", "rank", "rank_best", "rank_worst")
"""Ends of the names of what a ranking has on each predictor besides its value."""
_MOST_STEPS = 12
"""Columns of a ranking that fit on a line."""


def train_text(found: Facts) -> Iterable[Block]:
    """Text of the result of `train`."""
    yield (
        f"Trained on {counted(found['rows'], 'row')} in {counted(found['steps'], 'step')}: "
        f"{found['loss_tokens']:,} of {counted(found['tokens'], 'token')} with loss, "
        f"{found['seconds']:,.1f} s."
    )
    yield from counts("Left out", "reason", found["left_out"], of="rows")
    first, last = found["first_loss"], found["last_loss"]
    if found["steps"] == 1:
        yield f"Loss: {first:.4f} nats per token at the only step."
    else:
        yield f"Loss: {first:.4f} nats per token at the first step, {last:.4f} in the last tenth."
    yield f"Trained student: {found['path']}"


def evaluate_text(found: Facts) -> Iterable[Block]:
    """Text of the result of `evaluate`."""
    rows = tuple(
        (name, one["items"], one["by_status"].get("ok", 0), one["mean_value"],
         one.get("right_fraction"))
        for name, one in found["tasks"].items()
    )  # fmt: skip
    columns = ("task", "items", "evaluated", "mean value", "right fraction")
    yield Table(title="", columns=columns, rows=rows)
    for name, one in found["tasks"].items():
        others = {k: n for k, n in one["by_status"].items() if k != "ok"}
        yield from counts(f"{name}: not evaluated", "status", others, of="items")
    yield f"Results: {found['out']}"


def prove_text(found: Facts) -> Iterable[Block]:
    """The result of `prove`."""
    yield f"Finished cells (training runs and untrained students): {_out_of(found)}."
    yield from found["in_words"]
    yield (
        f"Report: {found['report']}" if "report" in found else f"Experiment folder: {found['out']}"
    )


def _out_of(found: Facts) -> str:
    return f"{found['done']:,} of {found['cells']:,}"


def plan_text(found: Facts) -> Iterable[Block]:
    """Text of the result of `prove --plan`."""
    words = found["in_words"]
    yield from [words] if isinstance(words, str) else words


def ranking_text(found: Facts) -> Iterable[Block]:
    """Text of the result of `rank teachers` and `rank sources`."""
    yield from found["in_words"]
    for kind in ("teachers", "sources"):
        rows = found.get(kind, [])
        names = _of_entrants(_columns(rows), by=found.get("by"))
        if rows:
            yield table_of("", tuple(names[:_MOST_STEPS]), rows[:_MOST_ENTRANTS])
        if more := names[_MOST_STEPS:]:
            yield f"Further columns are in the report: {', '.join(more)}."
        if len(rows) > _MOST_ENTRANTS:
            yield f"The first {_MOST_ENTRANTS} of {len(rows):,} {kind}; the report lists all."
    if probes := found.get("probes"):
        yield from probes["in_words"]
        if probes["rungs"]:
            rungs = probes["rungs"]
            yield table_of("Small training runs", tuple(_columns(rungs)), rungs, schema="PROBES")
        if probes["sweep"]:
            sweep = probes["sweep"]
            yield table_of("Sweep", tuple(_columns(sweep)), sweep, schema="SWEEP")
        if probes["unfinished"]:
            yield f"Training runs not done yet: {probes['unfinished']:,}."
    yield f"Report: {found['report']}" if found["report"] else f"Folder: {found['out']}"


def _of_entrants(columns: list[str], *, by: str | None) -> list[str]:
    """Columns of a ranking: the deciding predictor with its interval and rank, then other values.

    Examples:
        >>> _of_entrants(["entrant", "a", "a_low", "a_rank", "b", "b_low", "b_rank"], by="b")
        ['entrant', 'b', 'b_low', 'b_rank', 'a']
    """
    predictors = [name for name in columns if f"{name}_rank" in columns]
    parts = {f"{name}_{part}": name for name in predictors for part in _PARTS}
    shown = [name for name in columns if name not in predictors and name not in parts]
    decides = [f"{by}_{part}" for part in _PARTS if not part.startswith("rank_")]
    first = [name for name in (by, *decides) if name in columns]
    return [*shown, *first, *(name for name in predictors if name != by)]


def agreement_text(found: Facts) -> Iterable[Block]:
    """Text of the result of `rank agreement`."""
    yield from found["in_words"]
    rows = found["agreement"]
    names = ("predictor", "measure", "one", "other", "value", "low", "high", "n")
    if rows:
        yield table_of("", names, rows, schema="STUDENT_AGREEMENT")
    yield f"Report: {found['report']}"


def drift_text(found: Facts) -> Iterable[Block]:
    """Text of the result of `drift`."""
    sizes = {name: f"{name} ({counted(n, 'text')})" for name, n in found["sets"].items()}
    baseline = sizes.pop(found["baseline"])
    yield f"Compared with {baseline}: {', '.join(sizes.values())}. Intervals are 95 % intervals."
    for name in dict.fromkeys(line["name"] for line in found["lines"]):
        rows = [line for line in found["lines"] if line["name"] == name]
        columns: tuple[str, ...] = ("measure", "unit", "value", "low", "high")
        if any(row["change"] is not None for row in rows):
            columns += ("change", "change_low", "change_high")
        yield table_of(f"Set {name}", columns, rows, schema="DRIFT")
    if "out" in found:
        yield f"Table: {found['out']}"


def frontier_text(found: Facts) -> Iterable[Block]:
    """Text of the result of `frontier`."""
    from tutelage.reporting.number_format import share

    placed, examples = found["placed"], found["examples"]
    yield f"Examples: {placed:,} of {counted(examples, 'example')} placed, {found['kept']:,} kept."
    if placed:
        rows = tuple((name, share(placed)) for name, placed in found["shares"].items())
        yield Table(title="", columns=("class", "share of placed"), rows=rows)
    if found["band"] is None:
        yield "Band: none."
    else:
        low, high = found["band"]
        yield f"Band: pass rates from {low:.3f} to {high:.3f}."
    yield from counts("", "reason", found["reasons"], of="examples")
    answers = found["answers"]
    yield (
        f"Answers: {answers['asked']:,} requested, {answers['cut']:,} truncated by the "
        f"token limit, {answers['failed']:,} failed."
    )
    yield f"Report: {found['report']}" if found["report"] else f"Run folder: {found['run']}"


def rounds_text(found: Facts) -> Iterable[Block]:
    """Text of the result of `rounds`."""
    rounds = found["rounds"]
    names = ("loop", "seed", "round", "examples", "kept", "flipped", "accepted", "ended")
    if rounds:
        yield table_of("", names, rounds, schema="ROUNDS")
    else:
        yield "No round was done."
    for one in rounds:
        for limit in one.get("broken", ()):
            yield f"{one['loop']}, seed {one['seed']}, round {one['round']}: {limit}"
    if found["loops"]:
        names = ("task", "measure", "after", "loop", "against", "mean", "low", "high")
        title = "Differences between loops on held-out tasks"
        yield table_of(title, names, found["loops"], schema="COMPARED_LOOPS")
    yield f"Report: {found['report']}" if found["report"] else f"Folder: {found['out']}"


def metrics_text(found: Facts) -> Iterable[Block]:
    """Text of the result of `metrics`."""
    names = ("name", "level", "better", "summary")
    yield table_of("", names, found["metrics"])


def metric_agreement_text(found: Facts) -> Iterable[Block]:
    """Text of the result of `metrics --agreement`."""
    rows = found["agreement"]
    names = ("a", "b", "spearman", "low", "high", "n", "examples")
    for student in dict.fromkeys(row["student"] for row in rows):
        own = [row for row in rows if row["student"] == student]
        yield table_of(
            f"Student {student}: Spearman's rank correlation with its 95 % CI",
            names,
            own,
            schema="METRIC_AGREEMENT",
        )
    if not rows:
        yield "No pair of metrics could be compared."


def _columns(rows: Iterable[Facts]) -> list[str]:
    """Column names of all rows, in the order of their first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))
