"""The chapter that compares the loops, and its sentence."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from tutelage.data.schemas import COMPARED_LOOPS
from tutelage.experiments.rounds.charts import LOOP_WORDS
from tutelage.reporting.blocks import Cell, Section, Table, schema_columns
from tutelage.reporting.number_format import count

UNTRAINED = "untrained"


def loop_words(loop: str) -> str:
    """A loop in plain words."""
    return LOOP_WORDS.get(loop, loop.replace("_", " "))


def loops_sentences(loops: pa.Table) -> tuple[str, ...]:
    """What came out between the first loop and each other one, after the last training."""
    return tuple(
        _sentence(row) for row in loops.to_pylist() if row["latest"] and row["against"] != UNTRAINED
    )


def loops_sections(loops: pa.Table) -> tuple[Section, ...]:
    """Every comparison, or nothing where nothing was held out or there is one side only."""
    rows = loops.to_pylist()
    if not rows:
        return ()
    numbers = ("mean", "low", "high", "p_corrected", "detectable", "seeds", "items")
    columns = schema_columns(COMPARED_LOOPS, ("task", "after", "loop", "against", *numbers))
    cells: tuple[tuple[Cell, ...], ...] = tuple(
        (
            _task_words(row),
            row["after"],
            loop_words(row["loop"]),
            "the untrained student" if row["against"] == UNTRAINED else loop_words(row["against"]),
            *(row[name] for name in numbers),
        )
        for row in rows
    )
    return (
        Section(
            key="loops",
            title="The loops compared",
            paragraphs=(
                (
                    "Paired by seed and by held-out item; above 0 speaks for the first. The p-value"
                    " is corrected for all comparisons of the task after as many trainings "
                    "(Holm). The minimum detectable effect is the smallest true difference that "
                    "this many items and seeds would find with a chance of 80 %, were it the only "
                    "comparison."
                ),
            ),
            tables=(Table(caption="Differences on what is held out", columns=columns, rows=cells),),
        ),
    )


def _task_words(row: Mapping[str, Any]) -> str:
    return f"{row['task']}, share right" if row["measure"] == "right" else str(row["task"])


def _sentence(row: Mapping[str, Any]) -> str:
    verdict = "this difference is shown" if row["shown"] else "no difference could be shown"
    return (
        f"{_task_words(row)}, after {count(row['after'], 'training')}: {loop_words(row['loop'])} "
        f"less {loop_words(row['against'])} {row['mean']:+.3f} "
        f"({row['low']:+.3f} to {row['high']:+.3f}); {verdict}."
    )


def rounds_done(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many rounds there were, of how many loops and seeds."""
    rounds = len({row["round"] for row in rows})
    loops = len({row["loop"] for row in rows})
    seeds = len({row["seed"] for row in rows})
    said = f"{count(rounds, 'round')} of judging and training"
    if loops * seeds > 1:
        said += f" in {count(loops, 'loop')} with {count(seeds, 'seed')} each"
    if rounds * loops * seeds != len(rows):
        said += f", {count(len(rows), 'judgement')} so far"
    return said
