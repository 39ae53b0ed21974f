"""The loop of rounds: judged, trained, accounted for, guarded, continued."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.experiments.rounds.rounds_fakes import Ledger, round_doors, rounds_settings, speaks
from tests.experiments.rounds.student_fakes import moving_doors
from tests.pipeline.fakes import rows, write_rows
from tests.pipeline.fakes import settings as run_settings
from tutelage.data import write_table
from tutelage.errors import RunError, SettingsError, TeacherStoppedError, TeacherUnreachableError
from tutelage.experiments.rounds import load_rounds_settings, run_rounds
from tutelage.experiments.rounds.config import LOOPS
from tutelage.experiments.rounds.rewrite import Bounds, complaint_of
from tutelage.pipeline import RunFolder, explain_example, run_all
from tutelage.progress import Silent
from tutelage.refinement.rejected_rewrite import ASKS
from tutelage.teacher import Request
from tutelage.teacher.fakes import Line

GUARD = [{"subject": "held_out", "measure": "accuracy", "of": "change", "low": -0.1}]


def table(out: Path, name: str) -> list[dict[str, Any]]:
    return pq.read_table(out / f"{name}.parquet").to_pylist()


class Everything:
    """All loops with two seeds, rewriting what is refused: done once for many tests."""

    def __init__(self, root: Path) -> None:
        self.ledger = Ledger()
        self.settings = rounds_settings(
            root,
            count=10,
            loops=LOOPS,
            seeds=(0, 1),
            rewrite={"attempts": 2},
            embedder={"kind": "words"},
        )
        self.doors = round_doors(self.ledger, right={"": 0.5, "student-1": 0.75})
        self.found = run_rounds(self.settings, doors=self.doors)
        self.out = root / "out"
        names = ("rounds", "drift", "flips", "rewrites")
        self.tables = {name: table(self.out, name) for name in names}


@pytest.fixture(autouse=True)
def _no_page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As without the drawing libraries: pictures take seconds. `everything` has its page."""
    if "everything" not in request.fixturenames:
        for module in ("loop", "page"):
            monkeypatch.setattr(f"tutelage.experiments.rounds.{module}.can_draw", lambda: False)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Everything:
    return Everything(tmp_path_factory.mktemp("rounds"))


def test_every_loop_does_its_rounds_and_each_is_an_ordinary_run(everything: Everything) -> None:
    rounds = everything.tables["rounds"]
    assert [(r["seed"], r["loop"], r["round"]) for r in rounds] == [
        (seed, loop, number) for seed in (0, 1) for loop in LOOPS for number in range(3)
    ]
    assert len(everything.found["rounds"]) == len(rounds)
    assert [r["ended"] for r in rounds if r["round"] == 2] == ["rounds_done"] * 8
    run = everything.out / "seed-1" / "no_gate" / "round-1"
    example = pq.read_table(run / "decisions.parquet")["example_id"][0].as_py()
    assert example in explain_example(run, example)


def test_another_student_judges_in_every_round(everything: Everything) -> None:
    rounds = [r for r in everything.tables["rounds"] if (r["seed"], r["loop"]) == (0, "gate")]
    assert len({r["student"] for r in rounds}) == 3
    assert rounds[0]["compared"] is None
    assert rounds[1]["compared"] == 10
    changed = [
        f
        for f in everything.tables["flips"]
        if (f["kind"], f["seed"], f["loop"], f["round"]) == ("round", 0, "gate", 1)
    ]
    assert len(changed) == 10
    counted = rounds[1]["gained"] + rounds[1]["lost"] + rounds[1]["other_version"]
    assert counted == sum(f["direction"] != "same" for f in changed) > 0


def test_two_seeds_of_one_training_are_compared_as_the_noise_floor(everything: Everything) -> None:
    seeds = [f for f in everything.tables["flips"] if f["kind"] == "seed"]
    assert {(f["seed"], f["against"]) for f in seeds} == {(0, 1)}
    assert {f["round"] for f in seeds} == {1, 2}


def test_the_random_choice_is_as_large_as_the_gates(everything: Everything) -> None:
    kept = {(r["seed"], r["loop"], r["round"]): r["kept"] for r in everything.tables["rounds"]}
    for seed in (0, 1):
        for number in range(3):
            assert kept[seed, "random", number] == kept[seed, "gate", number]


def test_the_student_as_its_own_teacher_trains_on_its_own_words(everything: Everything) -> None:
    own = [
        x
        for x in everything.tables["drift"]
        if (x["measure"], x["loop"], x["round"]) == ("share:self", "self_teaching", 1)
    ]
    assert own[0]["value"] == 1.0
    run = everything.out / "seed-0" / "self_teaching" / "round-1"
    teachers = {row["teacher"] for row in table(run, "candidates")}
    assert teachers == {None, "self"}


def test_the_account_has_the_data_the_student_and_what_is_held_out(everything: Everything) -> None:
    lines = [
        x
        for x in everything.tables["drift"]
        if (x["seed"], x["loop"], x["round"]) == (0, "gate", 0) and x["baseline"]
    ]
    found = {(x["subject"], x["measure"]): x for x in lines}
    for measure in ("words", "distinct_2", "js_words", "spread", "nll_untrained", "nll_current"):
        assert ("data", measure) in found
    for measure in ("words", "compression_ratio", "js_word_pairs", "divergence", "nll_untrained"):
        assert ("student", measure) in found
    assert found["held_out", "accuracy"]["value"] == 0.75
    assert found["held_out", "accuracy"]["change"] == pytest.approx(0.25)
    assert found["held_out", "nll_human"]["change"] == 0


def test_what_was_refused_is_rewritten_with_the_reason(everything: Everything) -> None:
    rewrites = [
        r
        for r in everything.tables["rewrites"]
        if (r["seed"], r["loop"], r["round"]) == (0, "gate", 0)
    ]
    assert rewrites
    run = everything.out / "seed-0" / "gate" / "round-0"
    candidates = {row["candidate_id"]: row for row in table(run, "candidates")}
    for row in rewrites:
        if row["status"] == "ok":
            assert candidates[row["candidate_id"]]["parent_id"] == row["parent_id"]
            assert row["complaint"] in candidates[row["candidate_id"]]["messages"][-1]["content"]
    first = everything.tables["rounds"][0]
    assert first["rewrites_asked"] == len(rewrites)
    assert first["rewrites_won_back"] == sum(r["won_back"] for r in rewrites)
    ids = [row["example_id"] for row in table(run, "candidates")]
    changes = sum(a != b for a, b in zip(ids, [*ids[1:], ""], strict=True))
    assert len({*ids}) == changes, "the candidates of an example stand together"


def test_the_same_command_again_asks_and_trains_nobody(everything: Everything) -> None:
    ledger = everything.ledger
    asked, trained = len(ledger.asked), len(ledger.trained)
    again = run_rounds(everything.settings, doors=everything.doors)
    assert (len(ledger.asked), len(ledger.trained)) == (asked, trained)
    assert again == everything.found
    assert {name: table(everything.out, name) for name in everything.tables} == everything.tables


def test_a_round_that_breaks_the_guard_is_refused_and_the_student_before_is_kept(
    tmp_path: Path,
) -> None:
    found = run_rounds(
        rounds_settings(tmp_path, guard=GUARD, rounds=3),
        doors=round_doors(right={"": 0.5, "student-2": 0.2}),
    )
    rounds = table(tmp_path / "out", "rounds")
    assert [r["accepted"] for r in rounds] == [True, False]
    assert rounds[-1]["ended"] == "guard_broken"
    assert "at least -0.1; found -0.3: broken" in found["rounds"][-1]["broken"][0]


@pytest.mark.parametrize("still_said", [0, 1])
def test_a_student_that_falls_silent_breaks_the_guard(tmp_path: Path, still_said: int) -> None:
    held = {f"How is {n} told from {n + 1}?" for n in range(still_said, 6)}

    def hushed(request: Request) -> Line:
        trained = "student-1" in request.model
        return "" if trained and request.messages[-1].content in held else speaks(request)

    limit = {"subject": "student", "measure": "words", "of": "ratio", "low": 0.5, "high": 2.0}
    ways = replace(round_doors(), doors=moving_doors(hushed))
    found = run_rounds(rounds_settings(tmp_path, guard=[limit]), doors=ways)
    assert found["rounds"][0]["ended"] == "guard_broken"


def test_a_loop_that_is_not_guarded_goes_on_and_says_what_it_broke(tmp_path: Path) -> None:
    run_rounds(
        rounds_settings(tmp_path, guard=GUARD, loops=("no_gate",)),
        doors=round_doors(right={"": 0.5, "student-1": 0.2}),
    )
    rounds = table(tmp_path / "out", "rounds")
    assert [r["ended"] for r in rounds] == [None, None, "rounds_done"]
    assert rounds[0]["accepted"]
    assert rounds[0]["broken"]
    assert not rounds[1]["broken"]


def test_a_loop_ends_where_nothing_is_gained(tmp_path: Path) -> None:
    run_rounds(
        rounds_settings(tmp_path, rounds=6, count=16, stop={"patience": 2, "min_flip_fraction": 0}),
        doors=round_doors(),
    )
    rounds = table(tmp_path / "out", "rounds")
    assert [r["ended"] for r in rounds] == [None, None, "no_gain_beyond_noise"]


def test_a_loop_ends_where_nothing_flips_any_more(tmp_path: Path) -> None:
    # With a rule that no student's numbers move, every student decides alike.
    settings = rounds_settings(tmp_path, rounds=6, count=6, select={"rule": "all_original"})
    run_rounds(settings, doors=round_doors(right={"": 0.1, "student": 0.9}))
    rounds = table(tmp_path / "out", "rounds")
    assert [r["ended"] for r in rounds] == [None, "nothing_flips"]


def test_without_the_drawing_libraries_there_is_no_page_until_they_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = rounds_settings(tmp_path, rounds=1, count=4)
    assert run_rounds(settings, doors=round_doors())["report"] is None
    monkeypatch.undo()
    page = run_rounds(settings, doors=round_doors())["report"]
    assert page == str(tmp_path / "out" / "report.html")
    assert Path(page).is_file()


def test_the_loops_stand_beside_each_other_on_what_is_held_out(tmp_path: Path) -> None:
    settings = rounds_settings(tmp_path, loops=["gate", "no_gate"], seeds=[0, 1])
    doors = round_doors(right={"": 0.5, "gate": 0.9, "no_gate": 0.6})
    out = run_rounds(settings, doors=doors)
    rows = {
        (r["task"], r["after"], r["loop"], r["against"]): r
        for r in table(tmp_path / "out", "loops")
    }
    assert rows["sums", 2, "gate", "no_gate"]["mean"] == pytest.approx(0.3)
    assert rows["sums", 2, "gate", "no_gate"]["low"] > 0
    assert rows["sums", 2, "gate", "no_gate"]["shown"]
    assert not rows["human", 2, "gate", "no_gate"]["shown"]
    assert {key[1] for key, row in rows.items() if row["latest"]} == {2}
    assert rows["sums", 1, "no_gate", "untrained"]["mean"] == pytest.approx(0.1)
    assert rows["human", 2, "gate", "no_gate"]["mean"] == 0.0
    assert (rows["sums", 2, "gate", "no_gate"]["seeds"], len(rows)) == (2, 12)
    assert {(r["task"], r["after"]) for r in out["loops"]} == {("sums", 2), ("human", 2)}


def test_one_seed_shows_no_difference_between_loops(tmp_path: Path) -> None:
    settings = rounds_settings(tmp_path, rounds=1, loops=["gate", "no_gate"])
    run_rounds(settings, doors=round_doors(right={"": 0.1, "gate": 0.9, "no_gate": 0.2}))
    rows = [r for r in table(tmp_path / "out", "loops") if r["task"] == "sums"]
    assert all(r["low"] > 0 for r in rows if r["against"] == "no_gate")
    assert not any(r["shown"] for r in rows)


def test_a_loop_that_the_guard_ended_is_compared_by_the_student_it_kept(tmp_path: Path) -> None:
    settings = rounds_settings(
        tmp_path,
        loops=["gate", "no_gate"],
        guard=[{"subject": "held_out", "measure": "accuracy", "low": 0.95}],
    )
    run_rounds(settings, doors=round_doors(right={"": 0.5, "gate": 0.9, "no_gate": 0.6}))
    means = {
        (r["after"], r["loop"], r["against"]): r["mean"]
        for r in table(tmp_path / "out", "loops")
        if r["task"] == "sums"
    }
    assert means[2, "gate", "untrained"] == 0.0  # its first student was refused
    assert means[2, "gate", "no_gate"] == pytest.approx(-0.1)


def test_a_gain_counts_against_the_student_of_some_rounds_before(tmp_path: Path) -> None:
    # Better than the untrained student for good, and never better than the round before.
    settings = rounds_settings(tmp_path, rounds=6, stop={"patience": 2, "min_flip_fraction": 0})
    run_rounds(settings, doors=round_doors(right={"": 0.1, "student": 0.9}))
    rounds = table(tmp_path / "out", "rounds")
    assert [r["ended"] for r in rounds] == [None, None, None, "no_gain_beyond_noise"]


class StoppedError(Exception):
    """Stands for a kill: nothing in the package catches it."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A loop that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    made = rounds_settings(folder, count=8, rounds=1, rewrite={"attempts": 1})
    run_rounds(made, doors=round_doors())
    return folder


@pytest.mark.parametrize("after", [2, 5])
def test_a_loop_that_was_stopped_ends_as_one_that_was_not(
    whole: Path, tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [0]

    def dying(path: Path, data: Any) -> None:
        calls[0] += 1
        if calls[0] == after:
            raise StoppedError
        write_table(path, data)

    cut = rounds_settings(tmp_path, count=8, rounds=1, rewrite={"attempts": 1})
    modules = (
        "experiments.rounds.rewrite",
        "experiments.rounds.tables",
        "experiments.rounds.measure",
        "pipeline.stages",
        "experiments.rounds.loop",
    )
    with monkeypatch.context() as patch:
        for module in modules:
            patch.setattr(f"tutelage.{module}.write_table", dying)
        with pytest.raises(StoppedError):
            run_rounds(cut, doors=round_doors())
    run_rounds(cut, doors=round_doors())

    def decided(root: Path) -> list[list[Any]]:
        return [
            [(r["example_id"], r["candidate_id"], r["reason"]) for r in table(run, "decisions")]
            for run in sorted(root.glob("out/seed-0/gate/round-*"))[:1]
        ]

    assert decided(tmp_path) == decided(whole)


def test_nothing_is_trained_while_the_teacher_that_rewrites_is_away(tmp_path: Path) -> None:
    back: list[bool] = []

    def answer(request: Request) -> Line:
        rewrites = any(ask.reason in request.messages[-1].content for ask in ASKS.values())
        if rewrites and not back:
            stopped = TeacherStoppedError("no line")
            stopped.may_pass = True
            raise stopped
        return speaks(request)

    settings = rounds_settings(tmp_path, count=8, rounds=1, rewrite={"attempts": 1})
    ledger = Ledger()
    doors = replace(round_doors(ledger), doors=moving_doors(answer))
    with pytest.raises(TeacherUnreachableError, match="rewriting rejected candidates: no line"):
        run_rounds(settings, doors=doors)
    assert not ledger.trained
    back.append(True)
    run_rounds(settings, doors=doors)
    rewrites = [r for r in table(tmp_path / "out", "rewrites") if r["round"] == 0]
    assert rewrites
    assert {r["status"] for r in rewrites} == {"ok"}


def test_who_only_rewrites_is_asked_for_nothing_else(tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(request: Request) -> Line:
        asked.append(request.messages[-1].content)
        return speaks(request)

    settings = rounds_settings(
        tmp_path,
        count=12,
        rounds=1,
        teacher=None,
        held_out={},
        rewrite={"attempts": 1, "show_attempt": False, "teacher": {"model": "scripted"}},
    )
    pairs = [{**row, "refined_output": f"{row['output']} So it is."} for row in rows(12)]
    write_rows(tmp_path / "data.jsonl", pairs)
    run_rounds(settings, doors=replace(round_doors(), doors=moving_doors(answer)))
    steps = {row["step"] for row in table(tmp_path / "out" / "pool", "candidates")}
    assert steps == {"original", "response_reflection"}
    assert asked
    assert all(any(ask.reason in text for ask in ASKS.values()) for text in asked)
    written = [r for r in table(tmp_path / "out", "rewrites") if r["status"] == "ok"]
    assert written


def test_more_attempts_later_lose_no_rewrite_that_was_paid_for(tmp_path: Path) -> None:
    for attempts in (1, 2):
        more = rounds_settings(tmp_path, count=12, rounds=1, rewrite={"attempts": attempts})
        run_rounds(more, doors=round_doors())
    written = sorted((tmp_path / "out/seed-0/gate").glob("round-*/rewrite-?-candidates.parquet"))
    assert len(written) == 4
    for path in written:
        there = {row["candidate_id"] for row in table(path.parent, "candidates")}
        assert {row["candidate_id"] for row in table(path.parent, path.stem)} <= there


def test_no_more_examples_go_back_than_are_asked_for(tmp_path: Path) -> None:
    settings = rounds_settings(
        tmp_path, count=10, rounds=1, rewrite={"attempts": 1, "max_examples": 3}
    )
    run_rounds(settings, doors=round_doors())
    assert len([r for r in table(tmp_path / "out", "rewrites") if r["round"] == 0]) == 3


def score(loss: float = 2.0, **more: Any) -> dict[str, Any]:
    row = {"status": "ok", "ifd": 0.8, "r_ifd": 0.8, "nll_response_given_instruction": loss}
    return row | more


@pytest.mark.parametrize(
    ("row", "original", "verdict", "complaint"),
    [
        (score(), None, "wrong", "wrong"),
        (None, None, "no_answer", "wrong"),
        (None, None, None, None),
        (score(ifd=1.0), None, "right", "instruction_misleads"),
        (score(r_ifd=1.2), None, None, "instruction_misleads"),
        (score(3.5), None, None, "too_surprising"),
        (score(0.5), None, None, "too_easy"),
        (score(2.0), score(1.5), None, "too_surprising"),
        (score(2.0), score(2.5), None, "too_easy"),
        (score(status="too_long"), None, None, None),
    ],
)
def test_the_complaint_follows_from_the_numbers(
    row: dict[str, Any] | None,
    original: dict[str, Any] | None,
    verdict: str | None,
    complaint: str | None,
) -> None:
    bounds = Bounds(low=1.0, high=3.0)
    assert complaint_of(row, original, verdict=verdict, bounds=bounds) == complaint


def test_the_file_of_the_documentation_can_be_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "rounds.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "rounds.yaml").write_text(text, encoding="utf-8")
    settings = load_rounds_settings(tmp_path / "rounds.yaml", overrides={"rounds": 5})
    assert settings.rounds == 5
    assert settings.loops == LOOPS
    assert len(settings.guard) == 2


def test_rewriting_without_a_teacher_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="needs `teacher` or"):
        rounds_settings(tmp_path, teacher=None, rewrite={"attempts": 1})


def test_a_loop_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="loops contains a name twice"):
        rounds_settings(tmp_path, loops=("gate", "gate"))


def test_a_run_and_a_loop_of_rounds_do_not_share_a_folder(tmp_path: Path) -> None:
    settings = rounds_settings(tmp_path, count=2, rounds=1)
    folder = RunFolder(root=Path(settings.out))
    plain = run_settings(tmp_path / "data.jsonl", folder.root, teacher=None)
    run_all(plain, progress=Silent(), doors=moving_doors(), with_page=False)
    before = folder.manifest.read_bytes()
    with pytest.raises(RunError, match="is the folder of a run"):
        run_rounds(settings, doors=round_doors())
    assert folder.manifest.read_bytes() == before
    looped = tmp_path / "looped"
    for root in (looped, looped / "pool"):
        RunFolder(root=root).create().write_manifest({})
    with pytest.raises(RunError, match="is the folder of a loop of rounds"):
        RunFolder(root=looped).create()
