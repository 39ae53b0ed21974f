"""The text of the results of training, evaluation, ranking, drift and rounds.

Each function turns the facts that a command prints as JSON into sentences and tables.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tutelage.cli.output import Block
from tutelage.cli.summaries import counted, counts, table_of
from tutelage.cli.text_table import Table

Facts = Mapping[str, Any]

_MOST_ENTRANTS = 50
_MOST_STEPS = 12
"""Columns of a ranking that fit a line."""


def train_text(found: Facts) -> Iterable[Block]:
    """The result of `train`."""
    yield (
        f"Trained on {counted(found['rows'], 'row')} in {counted(found['steps'], 'step')}: "
        f"{found['loss_tokens']:,} of {counted(found['tokens'], 'token')} with loss, "
        f"{found['seconds']:,.1f} s."
    )
    yield from counts("Left out", "reason", found["left_out"], of="rows")
    first, last = found["first_loss"], found["last_loss"]
    yield f"Loss: {first:.4f} nats per token at the first step, {last:.4f} over the last tenth."
    yield f"Trained student: {found['path']}"


def evaluate_text(found: Facts) -> Iterable[Block]:
    """The result of `evaluate`."""
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
    yield f"Trainings finished: {found['done']:,} of {found['cells']:,}."
    yield from found["in_words"]
    yield (
        f"Report: {found['report']}" if "report" in found else f"Experiment folder: {found['out']}"
    )


def plan_text(found: Facts) -> Iterable[Block]:
    """The result of `prove --plan`."""
    words = found["in_words"]
    yield from [words] if isinstance(words, str) else words


def ranking_text(found: Facts) -> Iterable[Block]:
    """The result of `rank teachers` and `rank sources`."""
    yield from found["in_words"]
    for kind in ("teachers", "sources"):
        rows = found.get(kind, [])
        names = [name for name in _columns(rows) if not name.endswith(("_best", "_worst"))]
        if rows:
            yield table_of("", tuple(names[:_MOST_STEPS]), rows[:_MOST_ENTRANTS])
        if len(rows) > _MOST_ENTRANTS:
            yield f"The first {_MOST_ENTRANTS} of {len(rows):,} {kind}; the report lists all."
    if probes := found.get("probes"):
        yield from probes["in_words"]
        if probes["rungs"]:
            yield table_of("Small trainings", tuple(_columns(probes["rungs"])), probes["rungs"])
        if probes["sweep"]:
            yield table_of("Sweep", tuple(_columns(probes["sweep"])), probes["sweep"])
        if probes["unfinished"]:
            yield f"Trainings not done yet: {probes['unfinished']:,}."
    yield f"Report: {found['report']}"


def agreement_text(found: Facts) -> Iterable[Block]:
    """The result of `rank agreement`."""
    yield from found["in_words"]
    rows = found["agreement"]
    names = ("predictor", "measure", "one", "other", "value", "low", "high", "n")
    if rows:
        yield table_of("", names, rows)
    yield f"Report: {found['report']}"


def drift_text(found: Facts) -> Iterable[Block]:
    """The result of `drift`."""
    sets = ", ".join(f"{name} ({counted(n, 'text')})" for name, n in found["sets"].items())
    yield f"Compared with {found['baseline']}: {sets}. Intervals are 95 %."
    for name in dict.fromkeys(line["name"] for line in found["lines"]):
        rows = [line for line in found["lines"] if line["name"] == name]
        columns: tuple[str, ...] = ("measure", "unit", "value", "low", "high")
        if any(row["change"] is not None for row in rows):
            columns += ("change", "change_low", "change_high")
        yield table_of(f"Set {name}", columns, rows)
    if "out" in found:
        yield f"Table: {found['out']}"


def frontier_text(found: Facts) -> Iterable[Block]:
    """The result of `frontier`."""
    placed, examples = found["placed"], found["examples"]
    yield f"Examples: {placed:,} of {counted(examples, 'example')} placed, {found['kept']:,} kept."
    if found["shares"]:
        rows = tuple((name, f"{share:.1%}") for name, share in found["shares"].items())
        yield Table(title="", columns=("class", "share of placed"), rows=rows)
    if found["band"] is None:
        yield "Band: none."
    else:
        low, high = found["band"]
        yield f"Band: pass rates from {low:.3f} to {high:.3f}."
    yield from counts("", "reason", found["reasons"], of="examples")
    answers = found["answers"]
    yield (
        f"Answers: {answers['asked']:,} asked for, {answers['cut']:,} cut by the token limit, "
        f"{answers['failed']:,} failed."
    )
    yield f"Report: {found['report']}" if found["report"] else f"Run folder: {found['run']}"


def rounds_text(found: Facts) -> Iterable[Block]:
    """The result of `rounds`."""
    rounds = found["rounds"]
    names = ("loop", "seed", "round", "examples", "kept", "flipped", "accepted", "ended")
    if rounds:
        yield table_of("", names, rounds)
    else:
        yield "No round was done."
    for one in rounds:
        for limit in one.get("broken", ()):
            yield f"{one['loop']}, seed {one['seed']}, round {one['round']}: {limit}"
    if found["loops"]:
        names = ("task", "measure", "after", "loop", "against", "mean", "low", "high")
        yield table_of("Differences between loops on held-out tasks", names, found["loops"])
    yield f"Report: {found['report']}" if found["report"] else f"Folder: {found['out']}"


def metrics_text(found: Facts) -> Iterable[Block]:
    """The result of `metrics`."""
    names = ("name", "level", "better", "summary")
    yield table_of("", names, found["metrics"])


def metric_agreement_text(found: Facts) -> Iterable[Block]:
    """The result of `metrics --agreement`."""
    rows = found["agreement"]
    names = ("a", "b", "spearman", "low", "high", "n", "examples")
    for student in dict.fromkeys(row["student"] for row in rows):
        own = [row for row in rows if row["student"] == student]
        yield table_of(
            f"Student {student}: Spearman's rank correlation with its 95 % CI", names, own
        )
    if not rows:
        yield "No pair of metrics could be compared."


def _columns(rows: Iterable[Facts]) -> list[str]:
    """The names that any row has, in the order of their first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))
