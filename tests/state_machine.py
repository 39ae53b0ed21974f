"""Any sequence of commands over one run folder, each killed at any moment: nothing is lost.

    python -m tests.state_machine --minutes 30

prints how many commands of each kind were given, and how many of them were killed.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.pipeline import fakes
from tutelage.errors import TutelageError
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
from tutelage.pipeline.overrides import overrule, withdraw
from tutelage.pipeline.staleness import stale_outputs
from tutelage.progress import Silent
from tutelage.teacher import Journal

COUNTS: Counter[str] = Counter()
ROWS = 4
_FUSES = st.one_of(st.none(), st.integers(0, 12))
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


class RunMachine(RuleBasedStateMachine):
    """Commands over one run folder, and what has to hold after each of them."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.place = Path(self._folder.name)
        rows = [{**row, "reference": str(n)} for n, row in enumerate(fakes.rows(ROWS))]
        self.data = fakes.write_rows(self.place / "data.jsonl", rows)
        self.filters = self.place / "filters.yaml"
        self.filters.write_text("filters:\n  - kind: length\n    minimum: 12\n")
        self.run = RunFolder(root=self.place / "run")
        self.asked: list[str] = []
        self.doors = fakes.doors(asked=self.asked)
        self.scores: Rows = {}
        self.verdicts: Rows = {}
        self.samples: set[str] = set()
        self.replies: set[str] = set()
        self.overrides = b""
        self.decided_from: dict[str | None, Any] = {}
        self.reported_from: Any = None

    def teardown(self) -> None:
        self._folder.cleanup()

    def do(self, name: str, work: Callable[[], Any], *, after: int | None) -> bool:
        """Give one command; whether it came to its end."""
        COUNTS[name] += 1
        try:
            with fuse(after):
                work()
        except Killed:
            COUNTS["killed"] += 1
            return False
        except TutelageError as error:
            COUNTS[f"refused: {type(error).__name__}"] += 1
            return False
        assert not [p for p in self.run.root.iterdir() if p.suffix in (".tmp", ".part")]
        return True

    @property
    def decided(self) -> bool:
        return self.run.decisions.exists()

    @rule(
        after=_FUSES,
        steps=st.sampled_from([["instruction", "response"], ["response"]]),
        rule_name=st.sampled_from(["srt", "keep_all"]),
    )
    def run_config(self, after: int | None, steps: list[str], rule_name: str) -> None:
        wanted = fakes.settings(
            self.data,
            self.run.root,
            refine={"steps": steps},
            select={"rule": rule_name, "gate": "off", "max_unscored_fraction": 1.0},
        )
        work = lambda: run_all(wanted, progress=Silent(), doors=self.doors, with_page=False)  # noqa: E731
        if self.do("run", work, after=after):
            self._note_decided(None)
            self._check_set(self.run)

    @precondition(lambda self: self.run.candidates.exists())
    @rule(after=_FUSES, student=st.sampled_from(["b", "c"]), more=st.booleans())
    def score(self, after: int | None, student: str, *, more: bool) -> None:
        metrics = ["ifd", "r_ifd", "grape"] if more else ["ifd", "r_ifd"]
        self.do(
            "score",
            lambda: score_run(
                self.run.root,
                student={"model": student},
                metrics=metrics,
                progress=Silent(),
                doors=self.doors,
            ),
            after=after,
        )

    @rule(after=_FUSES, teacher=st.sampled_from(["one", "two"]))
    def sample(self, after: int | None, teacher: str) -> None:
        def answered(request: Any) -> str:
            return f"The answer is {int(request.key[:4], 16) % 3}."

        def work() -> None:
            sample_data(
                data={"path": str(self.data)},
                teachers=[{"model": teacher}],
                sample={"n": 2},
                out=self.run.root,
                progress=Silent(),
                doors=fakes.doors(answered, asked=self.asked),
            )

        if self.do("sample", work, after=after):
            table = pq.read_table(self.run.candidates).to_pylist()
            mine = [c for c in table if c["step"] == "sample" and c["teacher"] == teacher]
            assert mine
            self.samples |= {c["candidate_id"] for c in mine}

    @precondition(lambda self: self.run.candidates.exists())
    @rule(after=_FUSES, check=st.sampled_from(["exact", "number", "agreement"]))
    def verify(self, after: int | None, check: str) -> None:
        before = {key: row for key, row in self.verdicts.items() if key[0] != check}
        done = self.do(
            "verify",
            lambda: verify_run(self.run.root, check={"check": check}, progress=Silent()),
            after=after,
        )
        if done:
            now = _verdicts(self.run)
            assert {key for key in now if key[0] == check}
            self.verdicts = before | {k: v for k, v in now.items() if k[0] == check}

    @precondition(lambda self: self.run.candidates.exists())
    @rule(after=_FUSES)
    def filter(self, after: int | None) -> None:
        work = lambda: filter_run(self.run.root, config=self.filters, progress=Silent())  # noqa: E731
        self.do("filter", work, after=after)

    @precondition(lambda self: self.run.scores.exists())
    @rule(
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
    def select(self, after: int | None, name: str | None, given: dict[str, Any]) -> None:
        def work() -> None:
            select_again(
                self.run.root,
                given={**given, "max_unscored_fraction": 1.0},
                student=None,
                progress=Silent(),
                afresh=True,
                name=name,
            )

        main = _decision_bytes(self.run)
        if self.do("select", work, after=after):
            self._note_decided(name)
            self._check_set(self.run.with_selection(name))
        if name is not None:
            assert _decision_bytes(self.run) == main

    @precondition(lambda self: self.decided)
    @rule(after=_FUSES, at=st.integers(0, ROWS - 1), what=st.sampled_from(["keep", "drop", "back"]))
    def overrule(self, after: int | None, at: int, what: str) -> None:
        ids = pq.read_table(self.run.decisions)["example_id"].to_pylist()
        example = ids[at % len(ids)]
        versions = [
            c["candidate_id"]
            for c in pq.read_table(self.run.candidates).to_pylist()
            if c["example_id"] == example and c["status"] == "ok"
        ]

        def work() -> None:
            if what == "back":
                withdraw(self.run, example)
            else:
                kept = versions[0] if what == "keep" and versions else None
                overrule(self.run, example, candidate_id=kept, note="as I say")

        self.do("overrule", work, after=after)

    @precondition(lambda self: self.decided)
    @rule(after=_FUSES, name=st.sampled_from([None, "strict"]))
    def export(self, after: int | None, name: str | None) -> None:
        file = self.place / "train.jsonl"
        self.do(
            "export",
            lambda: export(self.run.selected_as(name), to="messages", file=file),
            after=after,
        )

    @precondition(lambda self: self.decided and COUNTS["report"] * 20 < sum(COUNTS.values()))
    @rule()
    def report(self) -> None:
        if self.do("report", lambda: write_report(self.run.root), after=None):
            self.reported_from = _shown(self.run)

    def _note_decided(self, name: str | None) -> None:
        self.decided_from[name] = _inputs(self.run.with_selection(name))

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
        if not self.run.scores.exists():
            assert not self.scores
            return
        now = _scores(self.run)
        lost = {key for key, row in self.scores.items() if now.get(key) != row}
        assert not lost, f"scores lost or changed: {sorted(lost)[:3]}"
        self.scores = now

    @invariant()
    def no_verdict_is_lost(self) -> None:
        now = _verdicts(self.run)
        assert {k: now.get(k) for k in self.verdicts} == self.verdicts

    @invariant()
    def no_override_is_lost(self) -> None:
        now = self.run.overrides.read_bytes() if self.run.overrides.exists() else b""
        assert now.startswith(self.overrides)
        self.overrides = now

    @invariant()
    def no_reply_is_lost_or_paid_twice(self) -> None:
        assert len(self.asked) == len(set(self.asked))
        if self.run.journal.exists():
            with Journal(self.run.journal) as journal:
                now = {key for key in self.asked if journal.get(key) is not None}
            assert self.replies <= now
            self.replies = now
        if self.samples:
            there = pq.read_table(self.run.candidates)["candidate_id"].to_pylist()
            assert self.samples <= set(there)

    @invariant()
    def what_is_out_of_date_is_said(self) -> None:
        if not self.run.manifest.exists():
            return
        for name, inputs in self.decided_from.items():
            run = self.run.with_selection(name)
            told = any(one.path == run.decisions for one in stale_outputs(run))
            assert told or inputs == _inputs(run), "old decisions are not reported"
        if self.reported_from is not None:
            told = any(one.path == self.run.report for one in stale_outputs(self.run))
            assert told or self.reported_from == _shown(self.run), "an old report is not reported"


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
    overrides = run.overrides.read_bytes() if run.overrides.exists() else None
    return [run.candidates.read_bytes(), run.decisions.read_bytes(), overrides]


TestRunFolder = RunMachine.TestCase
TestRunFolder.settings = _PLAIN


def main() -> None:
    """Try sequences until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    wanted = parser.parse_args()
    end, sequences = time.monotonic() + 60 * wanted.minutes, 0
    longer = settings(_PLAIN, max_examples=5, stateful_step_count=30, database=None)
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
