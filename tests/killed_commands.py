"""Commands that are killed at any moment and given again end as if nothing had happened.

    python -m tests.killed_commands --kills 200

prints how many commands of each kind were killed, and how many ended before the kill came; a fault
is printed when it is found. Each command is a process of its own and is ended by SIGKILL, up to
three times, at a moment that is drawn from the time that it takes. Then the same command is given
again and has to end well, with the tables, the files and the replies of the command that was left
alone. No teacher may be asked again for a reply that had been kept.
"""

import argparse
import importlib
import json
import os
import pickle
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.experiments.rounds import rounds_fakes
from tests.pipeline import fakes
from tutelage.data import content_hash
from tutelage.pipeline import (
    RunFolder,
    export,
    filter_run,
    run_all,
    sample_data,
    score_run,
    select_again,
    verify_run,
    write_report,
)
from tutelage.pipeline.resources import Doors
from tutelage.progress import Silent
from tutelage.student import StudentSettings
from tutelage.teacher import Request, TeacherSettings

ROWS = 12
CONCURRENCY = 4
PATIENCE = 3600
"""Seconds for a command that nobody kills: a machine that does other work is slow."""
TABLES = ("rows", "examples", "loaded", "candidates", "scores", "decisions", "chosen", "nulls")
MORE = ("verdicts", "filters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder in which a command works, and what lies beside it.

    Attributes:
        root: Of this trial; removed after it.
        shared: Data and models that no command changes.
    """

    root: Path
    shared: Path

    @property
    def run(self) -> RunFolder:
        return RunFolder(root=self.root / "run")

    @property
    def data(self) -> Path:
        return self.shared / "data.jsonl"

    def doors(self, answer: Callable[[Request], Any] = fakes.improves) -> Doors:
        """The usual fakes; what reaches the teacher is written down at once."""
        log = self.root / "asked.txt"

        def noted(request: Request) -> Any:
            with log.open("a") as file:
                file.write(f"{request.key}\n")
            return answer(request)

        return fakes.doors(noted)

    def asked(self) -> Counter[str]:
        log = self.root / "asked.txt"
        return Counter(log.read_text().split() if log.exists() else [])


def _run(at: Place) -> None:
    wanted = fakes.settings(
        at.data,
        at.run.root,
        teacher={"model": "scripted", "concurrency": CONCURRENCY},
        select={"gate": "off"},
    )
    run_all(wanted, progress=Silent(), doors=at.doors(), with_page=False)


def _score(at: Place) -> None:
    metrics = ["ifd", "r_ifd", "grape"]
    student = {"model": "b"}
    score_run(at.run.root, student=student, metrics=metrics, progress=Silent(), doors=at.doors())


def _sample(at: Place) -> None:
    sample_data(
        data={"path": str(at.data)},
        teachers=[{"model": "sampler", "concurrency": CONCURRENCY}],
        sample={"n": 3},
        out=at.run.root,
        progress=Silent(),
        doors=at.doors(lambda request: f"The answer is {int(request.key[:4], 16) % 5}."),
    )


def _verify(at: Place) -> None:
    verify_run(at.run.root, check={"check": "number"}, progress=Silent())


def _filter(at: Place) -> None:
    filter_run(at.run.root, config=at.shared / "filters.yaml", progress=Silent())


def _select(at: Place) -> None:
    given = {"rule": "grape", "gate": "not_wrong"}
    select_again(at.run.root, given=given, student=None, progress=Silent())


def _select_named(at: Place) -> None:
    given = {"rule": "random", "gate": "off"}
    select_again(at.run.root, given=given, student=None, progress=Silent(), name="other")


def _export(at: Place) -> None:
    export(at.run, to="trl", file=at.root / "train.jsonl")


def _report(at: Place) -> None:
    write_report(at.run.root)


def _prove(at: Place) -> None:
    from tutelage.experiments.prove.run import prove

    student = {
        "name": "tiny",
        "model": str(at.shared / "student"),
        "run": str(at.shared / "scored"),
    }
    values = {
        "students": [student],
        "arms": [
            {"name": "choice", "select": {"rule": "srt"}},
            {"name": "random", "select": {"rule": "random"}},
        ],
        "balance": ["examples"],
        "seeds": [0, 1],
        "examples": 4,
        "held_out": 3,
        "tasks": [{"name": "t", "kind": "choice", "path": str(at.shared / "choice.jsonl")}],
        "train": {"learning_rate": 1e-2, "dtype": "float32", "batch_examples": 4},
        "evaluate": {"dtype": "float32"},
    }
    prove(values, out=at.root / "prove", quick=False, most_cells=None, progress=Silent())


def _rounds(at: Place) -> None:
    from tutelage.experiments.rounds import run_rounds

    wanted = rounds_fakes.rounds_settings(
        at.root,
        count=6,
        loops=("gate", "self_teaching"),
        rewrite={"attempts": 1},
        teacher={"model": "scripted", "concurrency": CONCURRENCY},
        out=str(at.root / "rounds"),
        select={"gate": "off"},
    )

    def own(student: StudentSettings, batch: int) -> TeacherSettings:
        del batch
        return rounds_fakes.as_teacher(student, CONCURRENCY)

    doors = rounds_fakes.round_doors()
    plain = at.doors(rounds_fakes.speaks)
    inner = replace(doors.doors, open_teacher=plain.open_teacher)
    run_rounds(wanted, doors=replace(doors, doors=inner, as_teacher=own))


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command, and the share of the kills that it gets.

    Attributes:
        work: Gives it.
        share: Of the kills, as a weight.
        begun: Whether it works over a run that is there.
    """

    work: Callable[[Place], None]
    share: int = 1
    begun: bool = True


COMMANDS: Mapping[str, Command] = {
    "run": Command(work=_run, share=4, begun=False),
    "sample": Command(work=_sample, share=2),
    "score": Command(work=_score, share=2),
    "verify": Command(work=_verify),
    "filter": Command(work=_filter),
    "select": Command(work=_select, share=2),
    "select --name": Command(work=_select_named),
    "export": Command(work=_export),
    "report": Command(work=_report),
    "prove": Command(work=_prove, share=3, begun=False),
    "rounds": Command(work=_rounds, share=4, begun=False),
}


def outcome(at: Place) -> dict[str, Any]:
    """What a command came to: every table of every folder, and the files of its sets."""
    found: dict[str, Any] = {"asked": content_hash(sorted(at.asked()))}
    for manifest in sorted(at.root.rglob("manifest.json")):
        run = RunFolder(root=manifest.parent)
        for one in (run, *(run.with_selection(name) for name in run.selections())):
            for name in (*TABLES, *MORE):
                path: Path = getattr(one, name)
                if path.exists():
                    place = str(path.relative_to(at.root))
                    found[place] = content_hash(repr(pq.read_table(path).to_pylist()))
    for pattern in ("*.jsonl", "results.parquet", "rounds.parquet", "drift.parquet"):
        for path in sorted(at.root.rglob(pattern)):
            rows = path.read_text() if path.suffix == ".jsonl" else _rows(path)
            found[str(path.relative_to(at.root))] = content_hash(rows)
    for path in at.root.rglob("report.html"):
        found[str(path.relative_to(at.root))] = path.stat().st_size > 0
    left = [p.name for p in at.root.rglob("*") if p.suffix in (".tmp", ".part")]
    return found | {"left": left}


def _rows(path: Path) -> str:
    """The rows of a table without what tells the time or the folder."""
    table = pq.read_table(path)
    free = [name for name in table.column_names if "seconds" not in name and name != "student"]
    return repr(table.select(free).to_pylist())


def in_process(work: Callable[[], Any], *, kill_after: float | None = None) -> tuple[str, Any]:
    """Do something in a process of its own.

    Args:
        work: What; the process begins as a copy of this one, so nothing is imported again.
        kill_after: End it by SIGKILL after so many seconds; None: leave it alone.

    Returns:
        `done` with its result, `killed`, or `failed` with the error.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        signal.alarm(PATIENCE)
        try:
            result = ("done", work())
        except BaseException as error:  # noqa: BLE001  (told to the parent)
            result = ("failed", f"{type(error).__name__}: {error}")
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(result, pipe)
        os._exit(0)
    os.close(writing)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    if not told:
        return ("killed", None) if kill_after is not None else ("failed", "it ended silently")
    found: tuple[str, Any] = pickle.loads(told)  # noqa: S301  (by our own child)
    return found


def kept(work: Callable[[], Any]) -> Any:
    """The result of something that has to end well."""
    how, result = in_process(work)
    assert how == "done", result
    return result


def prepare(shared: Path, *, trains: bool) -> None:
    """Data, the run that most commands work over, and a model if one of them trains."""
    rows = [{**row, "reference": str(n * 7)} for n, row in enumerate(fakes.rows(ROWS))]
    fakes.write_rows(shared / "data.jsonl", rows)
    (shared / "filters.yaml").write_text("filters:\n  - kind: length\n    minimum: 12\n")
    choices = [
        {"id": n, "question": f"Tool {n}?", "choices": ["cuts", "joins"], "answer_index": n % 2}
        for n in range(4)
    ]
    fakes.write_rows(shared / "choice.jsonl", choices)
    begun = Place(root=shared / "begun", shared=shared)
    begun.root.mkdir()
    _run(begun)
    if trains:
        from tests.tiny_student import save_student

        save_student(shared / "student")
        shutil.copytree(begun.run.root, shared / "scored")
        fakes.scored_as(shared / "scored", StudentSettings(model=str(shared / "student")))
    verify_run(begun.run.root, check={"check": "exact"}, progress=Silent())
    (begun.root / "asked.txt").unlink()


class Trials:
    """Kills over all commands.

    Args:
        shared: A folder for everything.
        seed: Of which command is killed when.
        commands: Those that are tried.
    """

    def __init__(self, shared: Path, *, seed: int, commands: Mapping[str, Command]) -> None:
        self.shared = shared
        self.commands = commands
        self._draw = random.Random(seed)
        self._number = 0
        self.found: Counter[str] = Counter()
        self.faults: list[str] = []
        self.unsaid = 0
        kept(lambda: prepare(shared, trains="prove" in commands))
        self.left_alone: dict[str, dict[str, Any]] = {}
        self.seconds: dict[str, float] = {}

    def _leave_alone(self, name: str) -> None:
        """Give a command that nobody kills, note what it came to, and import here what it did."""
        command = self.commands[name]
        at, started = self._place(command), time.monotonic()
        self._import_like(at, command)
        # Half of it went into imports, which later ones find done; each trial corrects it.
        self.seconds[name] = (time.monotonic() - started) / 2
        self.left_alone[name] = kept(lambda: outcome(at))
        shutil.rmtree(at.root)

    def _import_like(self, at: Place, command: Command) -> None:
        def work() -> list[str]:
            command.work(at)
            return sorted(sys.modules)

        for name in kept(work):
            if name not in sys.modules and name != "__mp_main__":
                with suppress(ImportError):
                    importlib.import_module(name)

    def _place(self, command: Command) -> Place:
        self._number += 1
        # The same name each time, since settings and tables hold it.
        root = self.shared / "trial"
        if command.begun:
            shutil.copytree(self.shared / "begun", root)
        else:
            root.mkdir()
        return Place(root=root, shared=self.shared)

    def kill(self, name: str) -> int:
        """Kill one command up to three times, give it again, compare; how often it was killed."""
        if name not in self.left_alone:
            self._leave_alone(name)
        command = self.commands[name]
        at = self._place(command)
        kills = 0
        for _ in range(self._draw.randint(1, 3)):
            after = self._draw.uniform(0.0, self.seconds[name])
            how, told = in_process(lambda: command.work(at), kill_after=after)
            kills += how == "killed"
            self.found[f"{name}: {how}"] += 1
            if how == "failed":
                self.faults.append(f"{name}, {self._number}: {told}")
        started = time.monotonic()
        how, told = in_process(lambda: command.work(at))
        self.seconds[name] = 0.7 * self.seconds[name] + 0.3 * (time.monotonic() - started)
        if how != "done":
            self.faults.append(f"{name}, {self._number}, given again: {told}")
        else:
            self._compare(name, at, kills=kills)
        shutil.rmtree(at.root)
        self.found["faults"] = len(self.faults)
        return kills

    def _compare(self, name: str, at: Place, *, kills: int) -> None:
        now, then = kept(lambda: outcome(at)), self.left_alone[name]
        different = sorted(key for key in {*now, *then} if now.get(key) != then.get(key))
        if different:
            self.faults.append(f"{name}, {self._number}: not as if left alone: {different}")
        again = sum(count - 1 for count in at.asked().values())
        if again > kills * CONCURRENCY:
            self.faults.append(f"{name}, {self._number}: {again} replies were asked for twice")
        self.found[f"{name}: calls in flight repeated"] += again


def try_kills(
    kills: int,
    *,
    seed: int,
    commands: Mapping[str, Command] = COMMANDS,
    minutes: float | None = None,
    told: Callable[[Counter[str]], None] = lambda _: None,
) -> Counter[str]:
    """Kill so many commands.

    Args:
        kills: How many.
        seed: Of which command is killed when.
        commands: Those that are tried.
        minutes: Stop earlier, after so many; None: do not.
        told: Called after every command.

    Returns:
        How many were killed, by command.
    """
    drawn = random.Random(seed)
    shares = [command.share for command in commands.values()]
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(Path(folder), seed=seed, commands=commands)
        done = 0
        end = None if minutes is None else time.monotonic() + 60 * minutes
        while done < kills and (end is None or time.monotonic() < end):
            done += trials.kill(drawn.choices(list(commands), shares)[0])
            for fault in trials.faults[trials.unsaid :]:
                print(fault, file=sys.stderr, flush=True)  # noqa: T201
            trials.unsaid = len(trials.faults)
            told(trials.found)
    assert not trials.faults, "\n".join(trials.faults)
    return trials.found


def main() -> None:
    """Kill so many commands, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=os.getpid())
    wanted = parser.parse_args()
    show = lambda found: print(json.dumps(dict(found)), flush=True)  # noqa: E731, T201
    found = try_kills(wanted.kills, seed=wanted.seed, minutes=wanted.minutes, told=show)
    print(json.dumps({"seed": wanted.seed, **dict(sorted(found.items()))}, indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
