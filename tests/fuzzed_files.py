"""Files of every kind that a command reads, damaged at random: rows, or one plain error.

    python -m tests.fuzzed_files --files 20000

prints how many files of each kind were read and how many were refused. A file that makes its
reader raise anything but one of this package's errors is a fault; so is an error without a hint,
and a row that could not be read without a reason.
"""

import argparse
import bz2
import gzip
import json
import lzma
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.tiny_student import save_student
from tutelage.data import ReadSettings, read, write_table
from tutelage.data.readers import read_records
from tutelage.errors import TutelageError
from tutelage.evaluation import ItemResult, TaskSettings, results_table
from tutelage.evaluation.items import read_items
from tutelage.experiments.prove.config import ProveSettings, load_prove_settings
from tutelage.experiments.prove.forecast import pilot_of, seconds_of_cells
from tutelage.experiments.prove.run import read_experiment
from tutelage.experiments.rounds import load_rounds_settings
from tutelage.filters.config import read_filters
from tutelage.gate import CalibratedGate, Share
from tutelage.gate.detectors import Detector, Split, Tree
from tutelage.models.folder import find_folder
from tutelage.pipeline import RunFolder
from tutelage.pipeline.config import checked, load_settings
from tutelage.pipeline.gate_results import read_gate
from tutelage.pipeline.overrides import override_history, overrides_digest
from tutelage.pipeline.teacher_routes import read_routes
from tutelage.student import StudentSettings
from tutelage.teacher import Journal
from tutelage.training.train import refuse_other_rows

ROWS: list[dict[str, Any]] = [
    {"instruction": "Add 2 and 2.", "input": "", "output": "4", "source": "sums"},
    {"instruction": "Say é.", "input": 'a, "b"\nc', "output": "é\n\tlast", "source": "words"},
    {"instruction": "Count to three.", "input": "1", "output": "1 2 3", "source": "sums"},
]
CHATS: list[dict[str, Any]] = [
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Why?"},
            {"role": "assistant", "content": "<think>hm</think>So."},
        ],
        "tools": json.dumps([{"type": "function", "function": {"name": "f", "parameters": {}}}]),
    },
    {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
    {"instruction": "Tell.", "responses": ["one", "two"], "models": ["a", "b"], "scores": [1, 2]},
    {"prompt": "1+1?", "completion": "2", "reward_model": {"ground_truth": "2"}},
]
ITEMS = [{"question": f"{n}+{n}?", "answer": str(2 * n), "id": n} for n in range(3)]
RUN = """data: {path: data.jsonl, shape: auto}
student: {model: smollm2-135m, dtype: float32, max_length: 2048}
teacher:
  {model: m, base_url: "http://127.0.0.1:9/v1", concurrency: 4, prices: {currency: USD,
   input_per_million: 1.0, output_per_million: 2.0}}
refine: {steps: [instruction, response]}
score: {metrics: [ifd, r_ifd]}
select: {rule: srt, mode: safe, margin: 0.01, seed: 3}
out: runs/first
"""
ROUNDS = f"{RUN}rounds: 2\nloops: [gate, random]\nseeds: [0, 1]\nguard: []\n"
PROVE = """out: prove
students: [{name: a, model: smollm2-135m, run: runs/first}]
arms:
  - {name: choice, select: {rule: srt}}
  - {name: random, select: {rule: random}}
tasks: [{name: t, kind: choice, path: items.jsonl}]
seeds: [0, 1]
"""
FILTERS = """filters:
  - {kind: length, minimum: 12, maximum: 4000}
  - {kind: ifd, metric: r_ifd, below: 0.9}
"""
CELL = '{"state": "done", "trained": {"seconds": 2.5}}'
TRAINING = {
    "key": "k",
    "state": "done",
    "rows": {"file": "rows.jsonl", "left_out_rows": []},
    "result": {
        **dict.fromkeys(("steps", "rows", "tokens", "loss_tokens"), 8),
        **dict.fromkeys(("first_loss", "last_loss", "seconds"), 0.5),
        "left_out": {},
        "path": "model",
    },
}
OVERRIDE = {
    "time": "2026-01-01T00:00:00+00:00",
    "example_id": "a" * 20,
    "candidate_id": "b" * 20,
    "note": "as I say",
    "withdrawn": False,
    "was_candidate_id": None,
    "was_reason": "drawn",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of file.

    Attributes:
        whole: A file that its reader accepts.
        use: Reads it, given its path; the path lies in a folder of its own.
        name: Of the file.
    """

    whole: bytes
    use: Callable[[Path], object]
    name: str = "file"


def _rows(path: Path) -> int:
    rows = list(read(path, ReadSettings()))
    for row in rows:
        assert (row.example is None) == (row.status not in ("ok", "duplicate"))
        assert row.detail or row.status == "ok"
    return len(rows)


def _records(path: Path) -> int:
    return len(list(read_records(path)))


def _items(path: Path) -> int:
    task = TaskSettings(name="t", kind="exact_match", path=str(path))
    return len(read_items(task, seed=0))


def _journal(path: Path) -> None:
    with Journal(path) as journal:
        journal.get("key")
        len(journal)
        journal.failures()


def _gate(path: Path) -> None:
    read_gate(RunFolder(root=path.parent))


def _overrides(path: Path) -> None:
    run = RunFolder(root=path.parent)
    list(override_history(run))
    overrides_digest(run)


def _manifest(path: Path) -> None:
    RunFolder(root=path.parent).read_manifest()


def _routes(path: Path) -> None:
    read_routes(path)


def _training(path: Path) -> None:
    refuse_other_rows(path, path.parent)


def _experiment(path: Path) -> None:
    pilot = pilot_of(_plan(), path.parent)
    seconds_of_cells(_plan(), pilot, given=None)
    read_experiment(path.parent)


def _cell(path: Path) -> None:
    """The manifest of a cell, in an experiment that is well."""
    folder = path.parent / "around"
    write_experiment(folder)
    (folder / "cells" / "a" / "manifest.json").write_bytes(path.read_bytes())
    _experiment(folder / "manifest.json")


def _plan() -> ProveSettings:
    return checked(ProveSettings, yaml.safe_load(PROVE), place="test")


def _whole_experiment() -> bytes:
    cell = {
        "key": "a",
        "student": "a",
        "arm": "choice",
        "seed": 0,
        "balance": "examples",
        "rows": 3,
        "tokens": 30,
        "in_common": {"choice": 3, "random": 2},
    }
    about = {"student": "a", "arm": "choice", "rows": 3, "mean_tokens": 10.0, "do_not_fit": 0}
    stored = {
        "kind": "experiment",
        "settings": _plan().model_dump(mode="json"),
        "tasks": [{"name": "t"}],
        "sets": [about, {**about, "arm": "random"}],
        "cells": [cell, {**cell, "key": "b", "arm": "random"}],
    }
    return json.dumps(stored, indent=1).encode()


def write_experiment(folder: Path) -> ProveSettings:
    """An experiment of two finished cells, as `prove` leaves it; its settings."""
    if not (folder / "cells").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").write_bytes(_whole_experiment())
        for name in ("a", "b"):
            place = folder / "cells" / name
            place.mkdir(parents=True)
            (place / "manifest.json").write_text(CELL)
            rows = [ItemResult(item_id=str(n), status="ok", value=1.0 + n) for n in range(3)]
            write_table(place / "results.parquet", results_table(rows, task="t", seed=0))
    return _plan().model_copy(update={"out": folder})


def _model(path: Path) -> None:
    folder = find_folder(StudentSettings(model=str(path.parent)))
    folder.chat_template()
    folder.digest()


def kinds(folder: Path) -> Mapping[str, Kind]:
    """Every kind of file, made once."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
    chats = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in CHATS).encode()
    items = "".join(json.dumps(row) + "\n" for row in ITEMS).encode()
    table = pa.Table.from_pylist(ROWS)
    cells = [list(ROWS[0]), *(list(row.values()) for row in ROWS)]
    quoted = [['"' + str(c).replace('"', '""') + '"' for c in row] for row in cells]
    found = {
        "jsonl": Kind(whole=lines, use=_rows),
        "jsonl of chats": Kind(whole=chats, use=_rows),
        "json": Kind(whole=json.dumps(ROWS + CHATS, indent=1).encode(), use=_rows),
        "csv": Kind(whole="\n".join(",".join(row) for row in quoted).encode(), use=_rows),
        "tsv": Kind(whole="\n".join("\t".join(row) for row in quoted).encode(), use=_rows),
        "parquet": Kind(whole=_parquet(table), use=_rows),
        "parquet of chats": Kind(whole=_parquet(pa.Table.from_pylist(CHATS[:1])), use=_rows),
        "arrow file": Kind(whole=_arrow(table, stream=False), use=_rows),
        "arrow stream": Kind(whole=_arrow(table, stream=True), use=_rows),
        "gzip": Kind(whole=gzip.compress(lines), use=_rows),
        "bzip2": Kind(whole=bz2.compress(lines), use=_rows),
        "xz": Kind(whole=lzma.compress(lines), use=_rows),
        "zstd": Kind(whole=_zstd(lines), use=_rows),
        "records": Kind(whole=chats, use=_records),
        "evaluation items": Kind(whole=items, use=_items, name="items.jsonl"),
        "run settings": Kind(whole=RUN.encode(), use=load_settings, name="run.yaml"),
        "rounds settings": Kind(whole=ROUNDS.encode(), use=load_rounds_settings, name="r.yaml"),
        "prove settings": Kind(whole=PROVE.encode(), use=load_prove_settings, name="p.yaml"),
        "filter settings": Kind(whole=FILTERS.encode(), use=read_filters, name="f.yaml"),
        **DOCUMENTS,
        "journal": Kind(whole=_whole_journal(folder), use=_journal, name="journal.sqlite"),
    }
    save_student(folder / "student")
    turns = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    (folder / "student" / "chat_template.jinja").write_text(turns)
    for name in ("config.json", "tokenizer_config.json", "tokenizer.json", "model.safetensors"):
        whole = (folder / "student" / name).read_bytes()
        found[f"model: {name}"] = Kind(whole=whole, use=_model, name=name)
    return found


def prepare_place(name: str, place: Path) -> None:
    """Make the folder of one kind of file, with what its reader expects beside it."""
    place.mkdir()
    if name == "experiment manifest":
        write_experiment(place)


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=2)
    return bytes(sink.getvalue().to_pybytes())


def _arrow(table: pa.Table, *, stream: bool) -> bytes:
    sink = pa.BufferOutputStream()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue().to_pybytes())


def _whole_journal(folder: Path) -> bytes:
    path = folder / "journal.sqlite"
    with Journal(path):
        pass
    return path.read_bytes()


def _whole_gate() -> bytes:
    share = Share(count=1, rows=20, low=0.01, high=0.2)
    split = Split(feature=0, threshold=0.5, missing_left=True)
    tree = Tree(first=split, left=split, right=split, values=(0.1, 0.2, 0.3, 0.4))
    gate = CalibratedGate(
        detectors=(Detector(fault="echo", start=0.0, trees=(tree,)),),
        thresholds=(1.0,),
        max_false_refusals=0.05,
        expected_false_refusals=0.04,
        false_refusals=share,
        results=(),
        skipped={},
        suspected={},
        fit_examples=60,
        held_out_examples=20,
        seed=0,
    )
    stored = {"status": "fitted", "student": "s", "gate": gate.as_json()}
    return json.dumps(stored, indent=1).encode()


DOCUMENTS: Mapping[str, Kind] = {
    "overrides": Kind(
        whole=f"{json.dumps(OVERRIDE)}\n{json.dumps(OVERRIDE)}\n".encode(),
        use=_overrides,
        name="overrides.jsonl",
    ),
    "manifest": Kind(
        whole=b'{"schema_version": 1, "settings": {}, "stages": {"load": {"tally": {}}}}',
        use=_manifest,
        name="manifest.json",
    ),
    "training manifest": Kind(
        whole=json.dumps(TRAINING).encode(), use=_training, name="manifest.json"
    ),
    "experiment manifest": Kind(whole=_whole_experiment(), use=_experiment, name="manifest.json"),
    "manifest of a cell": Kind(whole=CELL.encode(), use=_cell, name="cell.json"),
    "routes": Kind(
        whole=b'{"default": "a", "routes": {"sums": "b"}}', use=_routes, name="routes.json"
    ),
    "quality gate": Kind(whole=_whole_gate(), use=_gate, name="quality_gate.json"),
}
"""What this package writes as JSON and reads again."""


def damaged(whole: bytes, draw: random.Random) -> bytes:
    """A file with one to three faults."""
    if draw.random() < _INSIDE and (changed := changed_inside(whole, draw)) is not None:
        return changed
    content = bytearray(whole)
    for _ in range(draw.randint(1, 3)):
        _damage(content, draw)
    return bytes(content)


_STRANGE = (
    *(b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\x1b[2J", b"\r", b"\n\n", b'"', b"{", b"}", b"["),
    *(b"]", b",", b":", b"\\", b"\\ud800", b"null", b"NaN", b"1e999", b"-1", b"true", b"{}", b"[]"),
    *(b"[" * 3000, b"9" * 400, b"&a [*a]", b"<<: *b", b"!!python/object:os.system x", b"'", b"- "),
)


_INSIDE = 0.3
"""Of the files that hold JSON, the share that stays valid JSON and says something else."""
_OTHER_VALUES = (None, True, -1, 0, 1.5, float("inf"), float("nan"), 10**400, "", "x", [], {}, [[]])


def changed_inside(whole: bytes, draw: random.Random) -> bytes | None:
    """A JSON document, or a file of lines with one each, in which one value is another or gone."""
    try:
        document, lines = json.loads(whole), None
    except ValueError:
        lines = whole.splitlines()
        at = draw.randrange(len(lines))
        try:
            document = json.loads(lines[at])
        except ValueError:
            return None
    holder: Any = [document]
    key: Any = 0
    while isinstance(holder[key], dict | list) and holder[key] and draw.random() < _DEEPER:
        holder = holder[key]
        key = draw.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    if holder[key] is document:
        document = draw.choice(_OTHER_VALUES)
    elif draw.random() < _GONE:
        del holder[key]
    else:
        holder[key] = draw.choice(_OTHER_VALUES)
    changed = json.dumps(document).encode()
    if lines is None:
        return changed
    return b"\n".join([*lines[:at], changed, *lines[at + 1 :], b""])


_DEEPER, _GONE = 0.8, 0.4


def _damage(content: bytearray, draw: random.Random) -> None:
    at = draw.randrange(len(content) + 1)
    length = min(draw.choice((1, 1, 2, 4, 8, 64)), len(content) - at)
    way = draw.randrange(7)
    if way == 0 and length:
        for place in range(at, at + length):
            content[place] ^= draw.randrange(1, 256)
    elif way == 1:
        del content[at : at + length]
    elif way == 2:
        content[at:at] = draw.choice(_STRANGE)
    elif way == 3:
        del content[at:]
    elif way == 4:
        del content[:at]
    elif way == 5:
        content[at:at] = content[at : at + draw.choice((1, 16, 256))]
    else:
        content[at : at + length] = draw.choice(_STRANGE)


def _written(kind: Kind, content: bytes, folder: Path) -> Path:
    path = folder / kind.name
    path.write_bytes(content)
    return path


def try_file(kind: Kind, content: bytes, folder: Path) -> tuple[str, str]:
    """How the reading of one file ended, and what is wrong with that; empty where nothing is."""
    path = _written(kind, content, folder)
    try:
        kind.use(path)
    except TutelageError as error:
        return "refused", "" if error.hint or str(folder) in str(error) else f"no hint: {error}"
    except Exception as error:  # noqa: BLE001  (what is looked for)
        return "traceback", f"{type(error).__name__}: {error}"
    return "read", ""


def try_files(files: int, *, seed: int, minutes: float | None = None) -> Counter[str]:
    """Damage so many files, and read each.

    Args:
        files: How many.
        seed: Of which kind is damaged, and how.
        minutes: Stop earlier, after so many; None: do not.

    Returns:
        How many ended how, by kind.
    """
    found: Counter[str] = Counter()
    faults: list[str] = []
    draw = random.Random(seed)
    end = None if minutes is None else time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as name:
        there = kinds(Path(name))
        names = sorted(there)
        places = {kind: Path(name) / f"of-{at}" for at, kind in enumerate(names)}
        for kind, place in places.items():
            if kind.startswith("model"):
                place.symlink_to(Path(name) / "student")
            else:
                prepare_place(kind, place)
            there[kind].use(_written(there[kind], there[kind].whole, place))
        for number in range(files):
            if end is not None and time.monotonic() > end:
                break
            kind = draw.choice(names)
            content = damaged(there[kind].whole, draw)
            ended, wrong = try_file(there[kind], content, places[kind])
            found[f"{kind}: {ended}"] += 1
            if kind.startswith("model"):
                (places[kind] / there[kind].name).write_bytes(there[kind].whole)
            if wrong:
                faults.append(f"{number}, {kind}: {wrong[:300]}")
    assert not faults, "\n".join([f"{found.total()} files were tried", *faults])
    return found


def main() -> None:
    """Try so many files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=os.getpid())
    wanted = parser.parse_args()
    found = try_files(wanted.files, seed=wanted.seed, minutes=wanted.minutes)
    told = {"seed": wanted.seed, "files": found.total(), **dict(sorted(found.items()))}
    print(json.dumps(told, indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
