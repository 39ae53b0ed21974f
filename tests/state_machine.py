"""Any sequence of commands over run folders, each killed at any moment: nothing is lost.

    python -m tests.state_machine --minutes 30

prints how many commands of each kind were given, and how many of them were killed. There are two
run folders: an ordinary one, and the pool of a loop of rounds, which is one as well.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.experiments.rounds import rounds_fakes
from tests.pipeline import fakes
from tutelage.errors import TutelageError
from tutelage.experiments.rounds import RoundsSettings, run_rounds
from tutelage.experiments.rounds.model import RoundsFolder
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
from tutelage.pipeline.config import checked
from tutelage.pipeline.overrides import overrides_of, overrule, withdraw
from tutelage.pipeline.staleness import stale_outputs
from tutelage.progress import Silent
from tutelage.student import StudentSettings
from tutelage.teacher import Journal, TeacherSettings

COUNTS: Counter[str] = Counter()
ROWS = 4
_FUSES = st.one_of(st.none(), st.integers(0, 12))
_WHERE = st.sampled_from(["run", "pool"])
_PLAIN = settings(
    max_examples=5,
    stateful_step_count=10,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

Rows = dict[tuple[str, str], tuple[Any, ...]]


class Killed(BaseException):
    """Stands for the end of the process: nothing that catches errors catches it."""


@contextmanager
def fuse(after: int | None) -> Iterator[None]:
    """Kill what runs inside at the given change of the folder, counted from 0."""
    left = [after]
    real: Callable[..., Any] = Path.replace

    def replaced(self: Path, target: Path) -> Any:
        if left[0] is not None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
        return real(self, target)

    Path.replace = replaced  # type: ignore[method-assign]
    try:
        yield
    finally:
        Path.replace = real  # type: ignore[method-assign]


@dataclass(kw_only=True)
class Kept:
    """A run folder, and what of it must not be lost.

    Attributes:
        run: The folder.
        journal: Where its teachers' replies are kept.
        asked: The requests that reached a teacher.
        scores: Of every student, as they were last.
        verdicts: Of every check, as they were last.
        samples: The candidates that were sampled.
        replies: Requests of which a reply was kept.
        overrides: The file, as it was last.
        decided_from: What each selection rested on when it was made.
        decided_as: What the manifest said of each selection then.
        reported_from: What the page showed when it was written.
    """

    run: RunFolder
    journal: Path
    asked: list[str] = field(default_factory=list)
    scores: Rows = field(default_factory=dict)
    verdicts: Rows = field(default_factory=dict)
    samples: set[str] = field(default_factory=set)
    replies: set[str] = field(default_factory=set)
    overrides: bytes = b""
    decided_from: dict[str | None, Any] = field(default_factory=dict)
    decided_as: dict[str | None, Any] = field(default_factory=dict)
    reported_from: Any = None

    @property
    def decided(self) -> bool:
        return self.run.decisions.exists()

    def teacher(self, model: str) -> dict[str, Any]:
        return {"model": model, "journal": str(self.journal)}

    def note_decided(self, name: str | None) -> None:
        self.decided_from[name] = _inputs(self.run.with_selection(name))
        self.decided_as[name] = self._said(name)

    def _said(self, name: str | None) -> Any:
        run = self.run.with_selection(name)
        return run.read_manifest().get("stages", {}).get(run.select_stage)

    def check_scores(self) -> None:
        if not self.run.scores.exists():
            assert not self.scores
            return
        now = _scores(self.run)
        lost = {key for key, row in self.scores.items() if now.get(key) != row}
        assert not lost, f"scores lost or changed: {sorted(lost)[:3]}"
        self.scores = now

    def check_verdicts(self) -> None:
        now = _verdicts(self.run)
        assert {k: now.get(k) for k in self.verdicts} == self.verdicts

    def check_overrides(self) -> None:
        now = self.run.overrides.read_bytes() if self.run.overrides.exists() else b""
        assert now.startswith(self.overrides)
        self.overrides = now

    def check_replies(self) -> None:
        assert len(self.asked) == len(set(self.asked)), "a reply was paid twice"
        if self.journal.exists():
            with Journal(self.journal) as journal:
                now = {key for key in self.asked if journal.get(key) is not None}
            assert self.replies <= now
            self.replies = now
        if self.samples:
            there = pq.read_table(self.run.candidates)["candidate_id"].to_pylist()
            assert self.samples <= set(there)

    def check_staleness(self) -> None:
        if not self.run.manifest.exists():
            return
        for name in self.decided_from:
            if self._said(name) != self.decided_as[name]:
                self.note_decided(name)  # by a command that was killed after it had decided
        for name, inputs in self.decided_from.items():
            run = self.run.with_selection(name)
            told = any(one.path == run.decisions for one in stale_outputs(run))
            assert told or inputs == _inputs(run), "old decisions are not reported"
        if self.reported_from is not None:
            told = any(one.path == self.run.report for one in stale_outputs(self.run))
            assert told or self.reported_from == _shown(self.run), "an old report is not reported"


class RunMachine(RuleBasedStateMachine):
    """Commands over two run folders, and what has to hold after each of them."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.place = Path(self._folder.name)
        rows = [{**row, "reference": str(n)} for n, row in enumerate(fakes.rows(ROWS))]
        self.data = fakes.write_rows(self.place / "data.jsonl", rows)
        self.filters = self.place / "filters.yaml"
        self.filters.write_text("filters:\n  - kind: length\n    minimum: 12\n")
        (self.place / "held_out").mkdir()
        self.looped = RoundsFolder(root=self.place / "rounds")
        run = RunFolder(root=self.place / "run")
        self.kept = {
            "run": Kept(run=run, journal=run.journal),
            "pool": Kept(run=self.looped.pool, journal=self.place / "shared.sqlite"),
        }
        self.ledger = rounds_fakes.Ledger()
        self.ledger.asked = self.kept["pool"].asked
        self.reports = 0

    def teardown(self) -> None:
        self._folder.cleanup()

    def do(self, name: str, work: Callable[[], Any], *, after: int | None) -> bool:
        """Give one command; whether it came to its end."""
        COUNTS["commands"] += 1
        COUNTS[name] += 1
        try:
            with fuse(after):
                work()
        except Killed:
            COUNTS["killed"] += 1
            COUNTS[f"killed {name}"] += 1
            return False
        except TutelageError as error:
            COUNTS[f"refused: {type(error).__name__}"] += 1
            return False
        return True

    def done_in(self, at: str, name: str, work: Callable[[], Any], *, after: int | None) -> bool:
        """Give one command over one of the folders, in which nothing half-written stays."""
        done = self.do(name, work, after=after)
        root = self.kept[at].run.root
        assert not done or not [p for p in root.iterdir() if p.suffix in (".tmp", ".part")]
        return done

    @rule(
        at=_WHERE,
        after=_FUSES,
        steps=st.sampled_from([["instruction", "response"], ["response"]]),
        rule_name=st.sampled_from(["srt", "keep_all"]),
    )
    def run_config(self, at: str, after: int | None, steps: list[str], rule_name: str) -> None:
        kept = self.kept[at]
        wanted = fakes.settings(
            self.data,
            kept.run.root,
            teacher=kept.teacher("scripted"),
            refine={"steps": steps},
            select={"rule": rule_name, "gate": "off", "max_unscored_fraction": 1.0},
        )
        doors = fakes.doors(asked=kept.asked)
        work = lambda: run_all(wanted, progress=Silent(), doors=doors, with_page=False)  # noqa: E731
        if self.done_in(at, "run", work, after=after):
            kept.note_decided(None)
            self._check_set(kept.run)

    @rule(
        after=st.one_of(st.none(), st.integers(0, 60)),
        loop=st.sampled_from(["gate", "no_gate", "random", "self_teaching"]),
        attempts=st.integers(0, 1),
        patience=st.integers(1, 2),
    )
    def rounds(self, after: int | None, loop: str, attempts: int, patience: int) -> None:
        kept = self.kept["pool"]
        wanted = rounds_fakes.rounds_settings(self.place / "held_out", count=2)
        values = wanted.model_dump() | {
            "data": {"path": str(self.data)},
            "teacher": kept.teacher("scripted"),
            "out": str(self.looped.root),
            "rounds": 1,
            "loops": [loop],
            "select": {"rule": "srt", "gate": "off", "max_unscored_fraction": 1.0},
            "rewrite": {"attempts": attempts},
            "stop": {"patience": patience},
        }
        settings_ = checked(RoundsSettings, values, place="test")
        # The students of `run`: one fingerprint must not stand for two ways of reading.
        doors = replace(
            rounds_fakes.round_doors(self.ledger),
            doors=fakes.doors(rounds_fakes.speaks, asked=kept.asked),
            as_teacher=self._as_teacher,
        )
        if not self.do("rounds", lambda: run_rounds(settings_, doors=doors), after=after):
            return
        kept.note_decided(None)
        self._check_set(kept.run)
        for number in range(2):
            self._check_set(self.looped.judged(0, loop, number))
        asked, trained = len(kept.asked), len(self.ledger.trained)
        run_rounds(settings_, doors=doors)
        assert (len(kept.asked), len(self.ledger.trained)) == (asked, trained)

    def _as_teacher(self, student: StudentSettings, batch: int) -> TeacherSettings:
        own = rounds_fakes.as_teacher(student, batch)
        return own.model_copy(update={"journal": self.kept["pool"].journal})

    @rule(at=_WHERE, after=_FUSES, student=st.sampled_from(["b", "c"]), more=st.booleans())
    def score(self, at: str, after: int | None, student: str, *, more: bool) -> None:
        run = self.kept[at].run
        if not run.candidates.exists():
            return
        metrics = ["ifd", "r_ifd", "grape"] if more else ["ifd", "r_ifd"]
        self.done_in(
            at,
            "score",
            lambda: score_run(
                run.root,
                student={"model": student},
                metrics=metrics,
                progress=Silent(),
                doors=fakes.doors(),
            ),
            after=after,
        )

    @rule(at=_WHERE, after=_FUSES, teacher=st.sampled_from(["one", "two"]))
    def sample(self, at: str, after: int | None, teacher: str) -> None:
        kept = self.kept[at]

        def answered(request: Any) -> str:
            return f"The answer is {int(request.key[:4], 16) % 3}."

        def work() -> None:
            sample_data(
                data={"path": str(self.data)},
                teachers=[kept.teacher(teacher)],
                sample={"n": 2},
                out=kept.run.root,
                progress=Silent(),
                doors=fakes.doors(answered, asked=kept.asked),
            )

        if self.done_in(at, "sample", work, after=after):
            table = pq.read_table(kept.run.candidates).to_pylist()
            mine = [c for c in table if c["step"] == "sample" and c["teacher"] == teacher]
            assert mine
            kept.samples |= {c["candidate_id"] for c in mine}

    @rule(at=_WHERE, after=_FUSES, check=st.sampled_from(["exact", "number", "agreement"]))
    def verify(self, at: str, after: int | None, check: str) -> None:
        kept = self.kept[at]
        if not kept.run.candidates.exists():
            return
        before = {key: row for key, row in kept.verdicts.items() if key[0] != check}
        work = lambda: verify_run(kept.run.root, check={"check": check}, progress=Silent())  # noqa: E731
        if self.done_in(at, "verify", work, after=after):
            now = _verdicts(kept.run)
            assert {key for key in now if key[0] == check}
            kept.verdicts = before | {k: v for k, v in now.items() if k[0] == check}

    @rule(at=_WHERE, after=_FUSES)
    def filter(self, at: str, after: int | None) -> None:
        run = self.kept[at].run
        if run.candidates.exists():
            work = lambda: filter_run(run.root, config=self.filters, progress=Silent())  # noqa: E731
            self.done_in(at, "filter", work, after=after)

    @rule(
        at=_WHERE,
        after=_FUSES,
        name=st.sampled_from([None, "strict"]),
        given=st.sampled_from(
            [
                {"rule": "srt", "mode": "paper", "gate": "off"},
                {"rule": "grape", "gate": "not_wrong"},
                {"rule": "random", "gate": "not_wrong", "gate_check": "exact"},
            ]
        ),
    )
    def select(self, at: str, after: int | None, name: str | None, given: dict[str, Any]) -> None:
        kept = self.kept[at]
        if not kept.run.scores.exists():
            return

        def work() -> None:
            select_again(
                kept.run.root,
                given={**given, "max_unscored_fraction": 1.0},
                student=None,
                progress=Silent(),
                afresh=True,
                name=name,
            )

        main = _decision_bytes(kept.run)
        if self.done_in(at, "select", work, after=after):
            kept.note_decided(name)
            self._check_set(kept.run.with_selection(name))
        if name is not None:
            assert _decision_bytes(kept.run) == main

    @rule(
        at=_WHERE,
        after=_FUSES,
        row=st.integers(0, ROWS - 1),
        what=st.sampled_from(["keep", "drop", "back"]),
    )
    def overrule(self, at: str, after: int | None, row: int, what: str) -> None:
        run = self.kept[at].run
        if not self.kept[at].decided:
            return
        ids = pq.read_table(run.decisions)["example_id"].to_pylist()
        example = ids[row % len(ids)]
        versions = [
            c["candidate_id"]
            for c in pq.read_table(run.candidates).to_pylist()
            if c["example_id"] == example and c["status"] == "ok"
        ]

        def work() -> None:
            if what == "back":
                withdraw(run, example)
            else:
                chosen = versions[0] if what == "keep" and versions else None
                overrule(run, example, candidate_id=chosen, note="as I say")

        self.done_in(at, "overrule", work, after=after)

    @rule(at=_WHERE, after=_FUSES, name=st.sampled_from([None, "strict"]))
    def export(self, at: str, after: int | None, name: str | None) -> None:
        kept = self.kept[at]
        file = self.place / "train.jsonl"
        if kept.decided:
            work = lambda: export(kept.run.selected_as(name), to="messages", file=file)  # noqa: E731
            self.done_in(at, "export", work, after=after)

    @precondition(lambda self: not self.reports and any(k.decided for k in self.kept.values()))
    @rule(at=_WHERE)
    def report(self, at: str) -> None:
        kept = self.kept[at]
        self.reports += 1  # drawing is slow: once in a sequence is enough
        work = lambda: write_report(kept.run.root)  # noqa: E731
        if kept.decided and self.done_in(at, "report", work, after=None):
            kept.reported_from = _shown(kept.run)

    def _check_set(self, run: RunFolder) -> None:
        """The files of one selection belong together."""
        decisions = pq.read_table(run.decisions).to_pylist()
        lines = [json.loads(line) for line in run.selected.read_text().splitlines()]
        rejected = [json.loads(line) for line in run.rejected.read_text().splitlines()]
        there = {row["example_id"] for row in [*lines, *rejected]}
        assert there == {row["example_id"] for row in decisions}
        chosen = {row["example_id"] for row in pq.read_table(run.chosen).to_pylist()}
        assert chosen == {row["example_id"] for row in decisions if row["kept"]}

    @invariant()
    def no_score_is_lost(self) -> None:
        for kept in self.kept.values():
            kept.check_scores()

    @invariant()
    def no_verdict_is_lost(self) -> None:
        for kept in self.kept.values():
            kept.check_verdicts()

    @invariant()
    def no_override_is_lost(self) -> None:
        for kept in self.kept.values():
            kept.check_overrides()

    @invariant()
    def no_reply_is_lost_or_paid_twice(self) -> None:
        for kept in self.kept.values():
            kept.check_replies()

    @invariant()
    def what_is_out_of_date_is_said(self) -> None:
        for kept in self.kept.values():
            kept.check_staleness()


def _scores(run: RunFolder) -> Rows:
    found: Rows = {}
    for path in (run.earlier_scores, run.scores):
        if path.exists():
            for row in pq.read_table(path).to_pylist():
                key = (row["student"], row["candidate_id"])
                found[key] = (row["status"], row["nll_response_given_instruction"], row.get("ifd"))
    return found


def _verdicts(run: RunFolder) -> Rows:
    if not run.verdicts.exists():
        return {}
    return {
        (row["check"], row["candidate_id"]): (row["verdict"],)
        for row in pq.read_table(run.verdicts).to_pylist()
    }


def _decision_bytes(run: RunFolder) -> list[bytes | None]:
    files = (run.decisions, run.chosen, run.nulls, run.selected, run.rejected)
    return [file.read_bytes() if file.exists() else None for file in files]


def _inputs(run: RunFolder) -> Any:
    """What the decisions of a selection rested on, read from the tables themselves."""
    tally = run.shown_manifest()["stages"]["select"].get("tally", {})
    settings_, student = tally.get("rule", {}), tally.get("student")
    mine = {k: v for k, v in _scores(run).items() if k[0] == student}
    table = {row["candidate_id"] for row in pq.read_table(run.candidates).to_pylist()}
    check = tally.get("gate_check")
    verdicts = {k: v for k, v in _verdicts(run).items() if k[0] == check}
    filters = run.filters.read_bytes() if run.filters.exists() else None
    return [
        {k: v for k, v in mine.items() if k[1] in table},
        table,
        verdicts if settings_.get("gate") != "off" else None,
        filters,
    ]


def _shown(run: RunFolder) -> Any:
    return [run.candidates.read_bytes(), run.decisions.read_bytes(), overrides_of(run)]


TestRunFolder = RunMachine.TestCase
TestRunFolder.settings = _PLAIN


def main() -> None:
    """Try sequences until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    wanted = parser.parse_args()
    end, sequences = time.monotonic() + 60 * wanted.minutes, 0
    phases = (Phase.generate,)  # shrinking a failure has no bound in time
    longer = settings(_PLAIN, max_examples=5, stateful_step_count=25, database=None, phases=phases)
    from hypothesis import seed
    from hypothesis.stateful import run_state_machine_as_test

    while time.monotonic() < end:
        sequences += 5

        @seed(sequences)
        class Seeded(RunMachine):
            pass

        run_state_machine_as_test(Seeded, settings=longer)
        print(json.dumps({"sequences": sequences, **COUNTS}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
