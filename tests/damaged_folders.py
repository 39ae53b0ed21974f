"""Run folders that were damaged in every way: an error that names the file, and nothing lost.

    python -m tests.damaged_folders --folders 400

prints how many commands met which outcome. A traceback, a changed file after an error, or a
result made from a damaged table ends the program with an assertion.
"""

import argparse
import json
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.experiments.rounds import rounds_fakes
from tests.fuzzed_files import changed_inside, write_experiment
from tests.pipeline import fakes
from tutelage.errors import TutelageError
from tutelage.experiments.prove.forecast import pilot_of, seconds_of_cells
from tutelage.experiments.prove.run import report_experiment
from tutelage.experiments.rank import rank_agreement, rank_teachers
from tutelage.experiments.rounds import run_rounds
from tutelage.pipeline import (
    RunFolder,
    explain_example,
    export,
    report_text,
    run_all,
    score_run,
    select_again,
    verify_run,
)
from tutelage.progress import Silent

TABLES = ("rows", "examples", "loaded", "candidates", "scores", "decisions", "chosen", "nulls")
FILES = (*TABLES, "verdicts", "manifest", "selected", "overrides")


def flip(path: Path, draw: random.Random) -> None:
    """Change some bytes in the middle."""
    content = bytearray(path.read_bytes().ljust(16))
    for _ in range(8):
        content[draw.randrange(4, max(5, len(content) - 8))] ^= draw.randrange(1, 256)
    path.write_bytes(bytes(content))


def cut(path: Path, draw: random.Random) -> None:
    """Leave only the beginning."""
    content = path.read_bytes()
    path.write_bytes(content[: draw.randrange(len(content) + 1)])


def cut_out(path: Path, draw: random.Random) -> None:
    """Leave out a piece of the middle; beginning and end are as they were."""
    content = path.read_bytes()
    at = draw.randrange(4, max(5, len(content) // 2))
    path.write_bytes(content[:at] + content[at + 16 :])


def replace_by_text(path: Path, draw: random.Random) -> None:
    """Something else under its name."""
    path.write_bytes(draw.choice([b"", b"\0" * 64, b"[1, 2]", b"null\n", b"PAR1PAR1", b"{"]))


def change_type(path: Path, draw: random.Random) -> None:
    """Another type of a column, or no such column."""
    if path.suffix != ".parquet":
        return cut(path, draw)
    table = pq.read_table(path)
    at = draw.randrange(table.num_columns)
    if draw.random() < 0.5:
        return pq.write_table(table.remove_column(at), path)
    wrong = pa.array([{"x": 1}] * table.num_rows, pa.struct([pa.field("x", pa.int64())]))
    return pq.write_table(table.set_column(at, table.column_names[at], wrong), path)


def other_version(path: Path, _draw: random.Random) -> None:
    """A manifest of a version that is not known."""
    manifest = path.with_name("manifest.json")
    values = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(values | {"schema_version": 99}))


def change_value(path: Path, draw: random.Random) -> None:
    """Another value, or none, somewhere in a JSON document; a table's manifest in its place."""
    place = path if path.suffix in (".json", ".jsonl") else path.with_name("manifest.json")
    changed = changed_inside(place.read_bytes(), draw) if place.stat().st_size else None
    place.write_bytes(b"{" if changed is None else changed)


def become_folder(path: Path, _draw: random.Random) -> None:
    """A folder under the name of the file."""
    path.unlink()
    path.mkdir()


def become_pipe(path: Path, _draw: random.Random) -> None:
    """A pipe under the name of the file: who opens it to read waits for ever."""
    path.unlink()
    os.mkfifo(path)


def change_rows(path: Path, draw: random.Random) -> None:
    """No row, every row twice, or a column without a value or with a word that nobody knows."""
    if path.suffix != ".parquet":
        return cut(path, draw)
    table = pq.read_table(path)
    at = draw.randrange(table.num_columns)
    field = table.schema.field(at)
    value = (
        "of_tomorrow \x1b[31m" if pa.types.is_string(field.type) and draw.random() < 0.5 else None
    )
    other = table.set_column(at, field, pa.array([value] * table.num_rows, field.type))
    changed = draw.choice([table.slice(0, 0), pa.concat_tables([table, table]), other])
    return pq.write_table(changed, path)


def change_row(path: Path, draw: random.Random) -> None:
    """One row twice or not at all, or one value of another row, of nobody, or none."""
    if path.suffix != ".parquet" or not (rows := (table := pq.read_table(path)).to_pylist()):
        return cut(path, draw)
    at, name = draw.randrange(len(rows)), draw.choice(table.column_names)
    kind = draw.randrange(4)
    if kind == 0:
        rows.insert(draw.randrange(len(rows)), rows[at])
    elif kind == 1:
        rows.pop(at)
    else:
        nobody = "of_nobody" if pa.types.is_string(table.schema.field(name).type) else None
        rows[at][name] = draw.choice([draw.choice(rows)[name], nobody, None])
    return pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


WAYS: Mapping[str, Callable[[Path, random.Random], None]] = {
    one.__name__: one
    for one in (
        *(flip, cut, cut_out, replace_by_text, change_type, other_version, become_folder),
        *(change_value, become_pipe, change_rows, change_row),
    )
}


def uses(data: Path, out: Path) -> Mapping[str, Callable[[RunFolder], object]]:
    """The commands, each over one run folder."""
    return {
        "select": lambda run: select_again(
            run.root, given={"rule": "grape"}, student=None, progress=Silent()
        ),
        "explain": lambda run: explain_example(run.root, "row:1"),
        "report": lambda run: report_text(run.root),
        "export": lambda run: export(run, to="messages", file=out / "train.jsonl"),
        "verify": lambda run: verify_run(run.root, check={"check": "exact"}, progress=Silent()),
        "score": lambda run: score_run(
            run.root,
            student={"model": "c"},
            metrics=["ifd", "r_ifd"],
            progress=Silent(),
            doors=fakes.doors(),
        ),
        "run": lambda run: run_all(
            fakes.settings(data, run.root), progress=Silent(), doors=fakes.doors(), with_page=False
        ),
    }


def whole_run(folder: Path) -> tuple[Path, Path]:
    """A run of two students and a check, and its data."""
    rows = [{**row, "reference": str(n)} for n, row in enumerate(fakes.rows(4))]
    data = fakes.write_rows(folder / "data.jsonl", rows)
    run = folder / "run"
    run_all(fakes.settings(data, run), progress=Silent(), doors=fakes.doors(), with_page=False)
    score_run(
        run,
        student={"model": "b"},
        metrics=["ifd", "r_ifd"],
        progress=Silent(),
        doors=fakes.doors(),
    )
    verify_run(run, check={"check": "exact"}, progress=Silent())
    (run / "overrides.jsonl").write_text("")
    return data, run


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Folders of one kind.

    Attributes:
        whole: One that is well; copies of it are damaged.
        files: What is damaged, by its path in the folder.
        uses: The commands, each over one such folder.
    """

    whole: Path
    files: tuple[str, ...]
    uses: Mapping[str, Callable[[RunFolder], object]]


def _run(folder: Path) -> Family:
    folder.mkdir()
    data, whole = whole_run(folder)
    run = RunFolder(root=whole)
    files = tuple(str(getattr(run, name).relative_to(whole)) for name in FILES)
    return Family(whole=whole, files=files, uses=uses(data, folder))


def _ranking(folder: Path) -> Family:
    folder.mkdir()
    rows = [
        {"instruction": f"What is {n}?", "model": name, "output": f"{name} says it is {n}."}
        for n in range(6)
        for name in ("tall", "small")
    ]
    data = fakes.write_rows(folder / "pool.jsonl", rows)

    def ranked(out: Path) -> object:
        job = {"data": {"path": str(data)}, "student": {"model": "table"}, "out": str(out)}
        return rank_teachers({**job, "draws": 100, "report": False}, doors=fakes.doors())

    ranked(folder / "whole")
    ranked(folder / "other")
    return Family(
        whole=folder / "whole",
        files=("manifest.json", "manifest.json", "answers.parquet", "standings.parquet"),
        uses={
            "rank teachers": lambda run: ranked(run.root),
            "rank agreement": lambda run: rank_agreement([run.root, folder / "other"]),
        },
    )


def _rounds(folder: Path) -> Family:
    folder.mkdir()

    def looped(run: RunFolder) -> object:
        wanted = rounds_fakes.rounds_settings(
            folder, count=3, out=str(run.root), rounds=1, loops=("gate", "random")
        )
        return run_rounds(wanted, doors=rounds_fakes.round_doors())

    looped(RunFolder(root=folder / "whole"))
    judged = "seed-0/gate/round-0/manifest.json"
    return Family(
        whole=folder / "whole",
        files=("manifest.json", "pool/manifest.json", judged, "rounds.parquet"),
        uses={"rounds": looped},
    )


def _experiment(folder: Path) -> Family:
    plan = write_experiment(folder)

    def report(run: RunFolder) -> object:
        settings = plan.model_copy(update={"out": run.root})
        return report_experiment(settings, {"cells": 2, "done": 2})

    def planned(run: RunFolder) -> object:
        return seconds_of_cells(plan, pilot_of(plan, run.root), given=None)

    return Family(
        whole=folder,
        files=("manifest.json", "manifest.json", "cells/a/manifest.json"),
        uses={"prove": report, "prove --plan": planned},
    )


FAMILIES: Mapping[str, Callable[[Path], Family]] = {
    "run": _run,
    "ranking": _ranking,
    "rounds": _rounds,
    "experiment": _experiment,
}
_SHARES = {"run": 6}
"""Of the folders, as weights; the others have one each."""


def try_folders(folders: int, *, seed: int, kinds: Sequence[str] = tuple(FAMILIES)) -> Counter[str]:
    """Damage so many copies of a folder, and give each one command.

    Args:
        folders: How many.
        seed: Of what is damaged, how, and which command follows.
        kinds: Names of the kinds of folder.

    Returns:
        How many ended how, by command.
    """
    found: Counter[str] = Counter()
    faults: list[str] = []
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        families = {kind: FAMILIES[kind](folder / kind) for kind in kinds}
        shares = [_SHARES.get(kind, 1) for kind in kinds]
        for number in range(folders):
            family = families[draw.choices(kinds, shares)[0]]
            # The same name each time: settings and keys hold it.
            run = RunFolder(root=folder / "damaged")
            shutil.copytree(family.whole, run.root)
            target = run.root / draw.choice(family.files)
            way = draw.choice(list(WAYS))
            WAYS[way](target, draw)
            command, use = draw.choice(list(family.uses.items()))
            ended, wrong = outcome(run, use)
            found[f"{command}: {ended}"] += 1
            if wrong:
                faults.append(f"{number}: {way} {target.name}, {command}: {wrong}")
            shutil.rmtree(run.root)
    assert not faults, "\n".join([f"{len(faults)} of {folders} folders", *faults])
    return found


def outcome(run: RunFolder, use: Callable[[RunFolder], object]) -> tuple[str, str]:
    """How one command ended, and what is wrong with that; an empty text where nothing is.

    An error has to name its place, and to leave what cannot be made again as it was.
    """
    before = _contents(run.root)
    try:
        use(run)
    except TutelageError as error:
        now = _contents(run.root)
        changed = [name for name, content in before.items() if now.get(name) != content]
        if changed:
            return "refused", f"{', '.join(changed)} changed although {error}"
        named = str(run.root) in str(error) or error.hint
        return "refused", "" if named else f"names no place: {error}"
    except Exception as error:  # noqa: BLE001  (what is looked for)
        return "traceback", f"{type(error).__name__}: {error}"
    return "done", ""


REMADE = ("rows", "examples", "loaded", "candidates")
"""Tables that `run` writes again from the data and the teacher cache, whatever follows."""


def _contents(root: Path) -> dict[str, bytes]:
    """Files of a run folder whose change would be a loss or a result made from damage."""
    kinds = ("*.parquet", "*.jsonl", "selections/*/*")
    return {
        str(file.relative_to(root)): file.read_bytes()
        for kind in kinds
        for file in root.glob(kind)
        if file.is_file() and file.stem not in REMADE
    }


def main() -> None:
    """Try so many folders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folders", type=int, default=400)
    parser.add_argument("--seed", type=int, default=os.getpid())
    wanted = parser.parse_args()
    found = try_folders(wanted.folders, seed=wanted.seed)
    print(json.dumps({"seed": wanted.seed, **found}, indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
