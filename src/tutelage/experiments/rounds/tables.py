"""Tables of all rounds, and the report over them."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data import write_table
from tutelage.data.schemas import FLIPS, ROUND_DRIFT, ROUND_FLIPS, ROUND_REWRITES, ROUNDS
from tutelage.experiments.drift import line_to_row
from tutelage.experiments.rounds.compare_loops import compare_loops
from tutelage.experiments.rounds.decision_changes import flips, tally_flips
from tutelage.experiments.rounds.model import RoundsFolder
from tutelage.experiments.rounds.rewrite import chosen_ids
from tutelage.pipeline.run_dir import sound

if TYPE_CHECKING:
    from tutelage.experiments.rounds.model import Round


def write_tables(folder: RoundsFolder, done: Sequence["Round"], untrained: pa.Table | None) -> None:
    """Write the tables of the rounds so far.

    Args:
        folder: Where.
        done: All rounds, in order.
        untrained: The evaluation of the untrained student; None where nothing is held out.
    """
    write_table(folder.rounds, pa.Table.from_pylist([_round(one) for one in done], schema=ROUNDS))
    drift = [{**_place(one), **line_to_row(line)} for one in done for line in one.lines]
    write_table(folder.drift, pa.Table.from_pylist(drift, schema=ROUND_DRIFT))
    write_table(folder.flips, _flips(folder, done))
    write_table(folder.loops, compare_loops(done, untrained))
    write_table(folder.rewrites, _rewrites(folder, done))


def _place(one: "Round") -> dict[str, Any]:
    return {"seed": one.seed, "loop": one.loop, "round": one.number}


def _round(one: "Round") -> dict[str, Any]:
    judged, tally, start = one.judged, one.flips, one.flips_from_start
    steps = judged["steps_kept"]
    rewrites = judged.get("rewrites") or {}
    directions = dict(tally.by_direction) if tally else {}
    return {
        **_place(one),
        "student": judged["student"],
        "examples": judged["examples"],
        "kept": judged["kept"],
        "kept_refined": sum(n for step, n in steps.items() if step != "original"),
        "compared": tally.examples if tally else None,
        **{
            name: directions.get(name, 0) if tally else None
            for name in ("gained", "lost", "other_version")
        },
        "flipped_from_start": start.changed if start else None,
        "rewrites_asked": rewrites.get("asked"),
        "rewrites_won_back": rewrites.get("won_back"),
        "trained_rows": one.trained.get("rows"),
        "accepted": one.accepted,
        "broken": [limit.in_words() for limit in one.checked if limit.verdict == "broken"],
        "ended": one.ended,
    }


def _flips(folder: RoundsFolder, done: Sequence["Round"]) -> pa.Table:
    tables = [
        _placed(table, kind=kind, place=_place(one), against=against)
        for one in done
        for kind, against, table in _flips_of(folder, one)
    ]
    tables += _flips_of_seeds(folder, done)
    return pa.concat_tables([pa.Table.from_pylist([], schema=ROUND_FLIPS), *tables])


def _flips_of(folder: RoundsFolder, one: "Round") -> Iterator[tuple[str, int, pa.Table]]:
    if not one.number:
        return
    now = pq.read_table(sound(folder.judged(one.seed, one.loop, one.number).decisions))
    for kind, number in (("round", one.number - 1), ("start", 0)):
        then = pq.read_table(sound(folder.judged(one.seed, one.loop, number).decisions))
        yield kind, number, flips(then, now)


def _flips_of_seeds(folder: RoundsFolder, done: Sequence["Round"]) -> list[pa.Table]:
    """Noise floor of changed decisions: the same loop and round, trained with another seed."""
    found = []
    for a, b in combinations(done, 2):
        if (a.loop, a.number) == (b.loop, b.number) and a.number:
            table = flips(
                *(
                    pq.read_table(sound(folder.judged(one.seed, one.loop, one.number).decisions))
                    for one in (a, b)
                )
            )
            found.append(_placed(table, kind="seed", place=_place(a), against=b.seed))
    return found


def _placed(table: pa.Table, *, kind: str, place: dict[str, Any], against: int) -> pa.Table:
    rows = table.num_rows
    columns = {"kind": kind, **place, "against": against}
    arrays = [pa.array([columns[name]] * rows, ROUND_FLIPS.field(name).type) for name in columns]
    return pa.table([*arrays, *table.columns], schema=ROUND_FLIPS)


def _rewrites(folder: RoundsFolder, done: Sequence["Round"]) -> pa.Table:
    rows = []
    for one in done:
        run = folder.judged(one.seed, one.loop, one.number)
        files = sorted(
            path
            for path in run.root.glob("rewrite-*.parquet")
            if not path.name.endswith("-candidates.parquet")
        )
        if not files:
            continue
        chosen = chosen_ids(run)
        for file in files:
            for row in pq.read_table(sound(file)).to_pylist():
                won = row["candidate_id"] in chosen
                rows.append({**_place(one), **row, "won_back": won})
    return pa.Table.from_pylist(rows, schema=ROUND_REWRITES)


def flip_summary(table: pa.Table) -> list[dict[str, Any]]:
    """Number of changed decisions by kind, seed, loop and round."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    names = ("kind", "seed", "loop", "round", "against")
    for row in table.to_pylist():
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    found = []
    for key, rows in groups.items():
        tally = tally_flips(
            pa.Table.from_pylist(
                [{name: row[name] for name in FLIPS.names} for row in rows], schema=FLIPS
            )
        )
        found.append(
            {
                **dict(zip(names, key, strict=True)),
                "examples": tally.examples,
                "changed": tally.changed,
                "by_direction": dict(tally.by_direction),
            }
        )
    return found
