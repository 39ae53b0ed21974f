"""The audit: shares of faulty rows, the gate's rates, and one recommendation, without training."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import tutelage as tt
from tests.gate.gate_rows import CountingStudent, gate_rows
from tests.pipeline.fakes import write_rows
from tutelage.api import Audit
from tutelage.cli import main
from tutelage.data import read
from tutelage.errors import DataError, RunError, SettingsError
from tutelage.experiments.audit import run as audit_run
from tutelage.experiments.audit.findings import (
    KINDS,
    AuditReadings,
    CrossedGates,
    KindFinding,
    SideFinding,
    break_even_table,
    recommendation_of,
)
from tutelage.experiments.audit.page import headline, label_of
from tutelage.experiments.audit.run import audit, default_out, draw_sample
from tutelage.gate import (
    FAULTS,
    NAMES,
    CalibratedGate,
    Detector,
    Prevalence,
    plant,
    share_of,
)
from tutelage.gate.detectors import Split, Tree
from tutelage.pipeline.resources import Doors, opened_student
from tutelage.progress import Silent
from tutelage.student import StudentSettings, TableStudent

ROWS = gate_rows(240)
MANY = {"refusal": range(45), "echo": range(45, 70)}
"""Which rewrites have which fault: 29 % of them."""


def open_counting(settings: StudentSettings) -> CountingStudent:
    return CountingStudent(name=settings.model)


DOORS = Doors(open_student=open_counting)


def pairs(faulty: dict[str, range], *, count: int = 240, **more: str) -> list[dict[str, str]]:
    fault_of = {n: fault for fault, numbers in faulty.items() for n in numbers}
    lines = []
    for number, row in enumerate(ROWS[:count]):
        refined = row.response
        if number in fault_of:
            planted = plant(row, fault=fault_of[number], dose="strong", others=ROWS, seed=9)
            refined = str(planted.response)
        original = " ".join(row.response.split()[:-3]) + " at last."
        lines.append(
            {
                "instruction": row.instruction,
                "original_output": original,
                "refined_output": refined,
                **more,
            }
        )
    return lines


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The audit of pairs of which 29 % are refusals or echo."""
    folder = tmp_path_factory.mktemp("audit")
    data = write_rows(folder / "pairs.jsonl", pairs(MANY))
    return audit(data, student="counting", out=folder / "out", planted=60, doors=DOORS)


def kind(side: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(k for k in side["kinds"] if k["kind"] == name)
    return found


def test_every_planted_fault_belongs_to_a_kind() -> None:
    assert sorted(f for faults in KINDS.values() for f in faults) == sorted(FAULTS)


def test_shares_of_faulty_rewrites_are_found_and_named(many: dict[str, Any]) -> None:
    rewritten, original = many["sides"]
    assert (rewritten["side"], original["side"]) == ("rewritten", "original")
    assert rewritten["estimate"]["share"] == pytest.approx(70 / 240, abs=0.1)
    assert rewritten["estimate"]["low"] > 0.1
    # The counting student is surprised by a refusal as by another language.
    strange = [kind(rewritten, name)["estimate"] for name in ("low_effort", "other_language")]
    assert sum(found["share"] for found in strange) == pytest.approx(45 / 240, abs=0.08)
    quiet = ("truncated", "repetitive", "template_or_turns", "corrupted")
    assert all(kind(rewritten, name)["estimate"]["share"] < 0.03 for name in quiet)
    assert original["estimate"]["share"] < 0.1


def test_shares_are_measured_on_examples_on_which_the_gate_was_not_fitted(
    many: dict[str, Any],
) -> None:
    rewritten = many["sides"][0]
    stored = json.loads((Path(many["page"]).parent / "gate.json").read_text())
    first, second = stored["gate"], stored["other_half"]
    assert first["fit_examples"] + second["fit_examples"] == 90  # 1.5 for each planted one
    assert first["held_out_examples"] <= second["fit_examples"]
    assert rewritten["measured"] == rewritten["read"] == 240  # rows that are set aside, too


def test_many_faults_mean_that_choosing_is_likely_to_pay(many: dict[str, Any]) -> None:
    assert many["recommendation"]["words"] == "Choosing is likely to pay"
    assert "break" not in many["basis"][0] or "not measured" in many["basis"][0]
    even = {row["ratio"]: row for row in many["break_even"]["rows"]}
    assert even[1.0]["is_above"] == "yes"
    assert many["break_even"]["not_measured"] == ["B", "H"]


def test_plain_rows_are_called_rows(tmp_path: Path) -> None:
    rows = [{"instruction": r.instruction, "output": r.response} for r in ROWS[:20]]
    data = write_rows(tmp_path / "rows.jsonl", rows)
    found = audit(data, student="counting", out=tmp_path / "out", planted=60, doors=DOORS)
    assert [side["side"] for side in found["sides"]] == ["original"]
    assert "faulty rows could not be used" in found["in_words"]
    assert "rewrite" not in found["in_words"]


def test_in_python_an_audit_has_its_lines_and_its_page(tmp_path: Path) -> None:
    rows = [{"instruction": r.instruction, "output": r.response} for r in ROWS[:20]]
    found = tt.audit(rows, "counting", out=tmp_path / "out", planted=60, doors=DOORS)
    assert isinstance(found, Audit)
    assert "\n".join(found.in_words) == found.summary["in_words"]
    assert found.report == tmp_path / "out" / "audit.html" == Path(found.summary["page"])
    assert found.report.exists()
    assert not hasattr(found, "healthy")  # which `doctor` finds


def test_a_dry_run_in_python_opens_the_student_in_the_given_way(tmp_path: Path) -> None:
    opened: list[str] = []

    def opening(settings: StudentSettings) -> CountingStudent:
        opened.append(settings.model)
        return open_counting(settings)

    rows = [{"instruction": r.instruction, "output": r.response} for r in ROWS[:8]]
    how: dict[str, Any] = {"dry_run": True, "measure_seconds": 0.0, "out": tmp_path / "out"}
    found = tt.audit(rows, "counting", doors=Doors(open_student=opening), **how)
    assert found["tokens"][0].as_py() > 0
    assert set(opened) == {"counting"}


def test_few_faults_mean_that_all_are_kept() -> None:
    few = side()
    made = recommendation_of(few, checkable=False)
    assert made is not None
    assert label_of(made, noun="rewrites") == "Keep all rewrites"
    assert label_of(made, noun="rows") == "Keep all rows"
    told = headline(made, few, noun="rewrites", detail=None)
    assert told[0] == "Keep all rewrites."
    assert "2.0 % (95 % interval 0 % to 4.0 %) of the rewrites look faulty" in told[1]
    assert "which is not measured" in told[1]


def test_the_page_shows_examples_of_each_kind_with_their_evidence(many: dict[str, Any]) -> None:
    page = Path(many["page"]).read_text(encoding="utf-8")
    assert "low-effort: a refusal" in page
    assert "Evidence for the fault" in page
    assert "<script" not in page
    strange = ("low_effort", "other_language", "corrupted")  # this student does not know the words
    shown = [e for e in many["examples"] if e["shown"] and e["kind"] in strange]
    assert 1 <= len(shown) <= 9
    assert all(e["evidence"] and e["step"] != "original" for e in shown)
    rows = {e["row"] for e in many["examples"] if e["kind"] in strange}
    assert len(rows & set(range(45))) > 0.7 * len(rows)


def test_the_files_hold_what_was_returned_and_no_text_of_rows(many: dict[str, Any]) -> None:
    stored = json.loads((Path(many["page"]).parent / "audit.json").read_text(encoding="utf-8"))
    assert stored["sides"] == json.loads(json.dumps(many["sides"]))
    assert stored["student"]["fingerprint"] == CountingStudent(name="counting").fingerprint
    assert len(stored["inputs"]) == 1
    assert ROWS[0].response not in json.dumps(stored)


def test_below_the_minimum_it_says_so_and_estimates_nothing(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "few.jsonl", pairs(MANY, count=40))
    found = audit(data, student="counting", out=tmp_path / "out", doors=DOORS)
    assert found["status"] == "not_enough_rows"
    assert found["recommendation"] is None
    assert "40 clean examples with scores; a quality gate needs 60" in found["in_words"]
    assert found["in_words"].count("No recommendation.") == 1
    assert all(side["estimate"] is None and not side["kinds"] for side in found["sides"])
    assert found["sides"][0]["beyond"]["rows"] == 40
    assert not (tmp_path / "out" / "gate.json").exists()
    assert "No recommendation" in Path(found["page"]).read_text(encoding="utf-8")


def test_texts_far_beyond_the_student_are_counted_but_not_short_ones(tmp_path: Path) -> None:
    def nats(candidate: Any, _: str) -> float:
        return 5.0 if "Kelvin" in candidate.response else 2.0

    def open_table(settings: StudentSettings) -> TableStudent:
        return TableStudent(mean_nats=nats, name=settings.model)

    rows = [{"instruction": f"Ask {n}.", "output": f"Word {n} is used in a plain old text."}
            for n in range(20)]  # fmt: skip
    rows += [{"instruction": "Hard?", "output": "Kelvin waves run slowly along a sloping shelf."},
             {"instruction": "Short?", "output": "Kelvin waves."}]  # fmt: skip
    data = write_rows(tmp_path / "rows.jsonl", rows)
    found = audit(data, student="t", out=tmp_path / "out", doors=Doors(open_student=open_table))
    assert found["sides"][0]["beyond"]["count"] == 1
    assert [e["row"] for e in found["examples"]] == [20]


def test_every_row_is_accounted_for(tmp_path: Path) -> None:
    lines: list[Any] = [*pairs({}, count=40), "{broken", {"instruction": "Only asked."}]
    lines += [lines[0], {"instruction": "Empty?", "original_output": "Yes.", "refined_output": ""}]
    data = write_rows(tmp_path / "rows.jsonl", lines)
    found = audit(data, student="counting", out=tmp_path / "out", planted=60, doors=DOORS)
    assert found["rows"]["rows"] == 44
    assert found["rows"]["by_status"] == {"duplicate": 1, "malformed_json": 1, "ok": 42}
    sample = found["sample"]
    assert sample["without_response"] == 1
    assert sample["examples"] == sample["drawn"] == 41
    unread = sum(sample["unread"].values()) + sum(sample["without_text"].values())
    assert sample["texts_read"] + unread == 82


def test_a_sample_is_bounded_and_depends_on_ids_alone(tmp_path: Path) -> None:
    pool = [{"instruction": f"Say {n}.", "model": model, "output": f"{model} says {n}."}
            for model in ("a", "b", "c") for n in range(30)]  # fmt: skip
    draws = []
    for lines in (pool, pool[::-1]):
        data = write_rows(tmp_path / "pool.jsonl", lines)
        draws.append(draw_sample(read(data), examples=10, seed=3, progress=Silent()))
    assert all(len(d.candidates) == 10 and d.drawn == 10 and d.examples == 30 for d in draws)
    assert {c.candidate_id for c in draws[0].candidates} == {
        c.candidate_id for c in draws[1].candidates
    }
    other = draw_sample(read(data), examples=10, seed=4, progress=Silent())
    assert {c.example_id for c in other.candidates} != {c.example_id for c in draws[0].candidates}


def side(**more: Any) -> SideFinding:
    values: dict[str, Any] = {
        "side": "rewritten",
        "read": 200,
        "measured": 200,
        "beyond": share_of(0, 200),
        "refused": share_of(20, 200),
        "false_refusals": share_of(10, 200),
        "hit_rate": Prevalence(share=0.9, low=0.8, high=0.95),
        "estimate": Prevalence(share=0.02, low=0.0, high=0.04),
    }
    return SideFinding(**{**values, **more})


def test_the_recommendation_follows_from_the_shares() -> None:
    some = Prevalence(share=0.2, low=0.14, high=0.26)
    unclear = Prevalence(share=0.08, low=0.03, high=0.14)
    blind = Prevalence(share=0.3, low=0.2, high=0.4)

    def advice(found: SideFinding, *, checkable: bool = False) -> tuple[str, str] | None:
        made = recommendation_of(found, checkable=checkable)
        return None if made is None else (made.advice, made.because)

    assert advice(side()) == ("keep_all", "few_faults")
    assert advice(side(), checkable=True) == ("verify_first", "has_references")
    assert advice(side(estimate=some)) == ("choose", "many_faults")
    assert advice(side(estimate=some), checkable=True) == ("choose", "many_faults")
    assert advice(side(estimate=unclear)) == ("verify_first", "unclear")
    assert advice(side(estimate=some, hit_rate=blind)) == ("verify_first", "gate_blind")
    assert advice(side(estimate=None)) == ("verify_first", "gate_blind")
    assert advice(replace(side(), false_refusals=None)) is None


def why_verify_first(found: SideFinding) -> str:
    made = recommendation_of(found, checkable=False)
    assert made is not None
    assert (made.advice, made.because) == ("verify_first", "doubtful")
    return headline(made, found, noun="rewrites", detail=None)[1]


def test_a_fault_that_shows_beyond_its_estimate_is_said_and_not_passed_over() -> None:
    none_found = KindFinding(
        kind="truncated", named=share_of(0, 200), estimate=Prevalence(share=0.0, low=0.0, high=0.03)
    )
    many = replace(none_found, alike=share_of(40, 200))
    found = side(kinds=(many,))
    told = why_verify_first(found)
    assert "20 % look truncated (they score like a typical planted row)" in told
    accounted = Prevalence(share=0.35, low=0.3, high=0.4)
    quiet = (
        none_found,
        replace(many, alike=share_of(6, 200)),  # as many as clean rows may be
        replace(many, estimate=accounted),
    )
    assert not any(kind.is_doubtful for kind in quiet)


def test_a_planted_fault_that_the_gate_often_misses_makes_its_kind_doubtful() -> None:
    found = Prevalence(share=0.02, low=0.0, high=0.17)
    clean = KindFinding(kind="corrupted", named=share_of(2, 100), estimate=found)
    missing = replace(clean, missed=("scrambled_words", share_of(48, 90)))
    assert missing.is_doubtful
    assert not clean.is_doubtful
    doubtful = side(kinds=(missing,))
    told = why_verify_first(doubtful)
    assert "the gate finds only 53 % of planted `scrambled_words`" in told


def blind_to_truncation(readings: AuditReadings, **_: Any) -> CrossedGates:
    """Gates that learnt to take short rows for normal: they see them, and refuse none."""
    is_short = Split(feature=NAMES.index("log_tokens"), threshold=math.log(9), missing_left=False)
    tree = Tree(first=is_short, left=None, right=None, values=(1.0, 1.0, -3.0, -3.0))
    gate = CalibratedGate(
        detectors=(Detector(fault="truncation", start=0.0, trees=(tree,)),), thresholds=(2.0,),
        max_false_refusals=0.05, expected_false_refusals=0.0, false_refusals=share_of(0, 30),
        results=(), skipped={}, suspected={}, fit_examples=30, held_out_examples=30, seed=0,
    )  # fmt: skip
    plants = [r for r in readings.material.planted if r.fault == "truncation"]
    return CrossedGates(fitted_on_fit=gate, fitted_on_held_out=gate, suspected={}, plants=plants)


def test_a_fault_that_half_of_the_rewrites_have_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_run, "crossed_gates", blind_to_truncation)
    data = write_rows(tmp_path / "half.jsonl", pairs({"truncation": range(30)}, count=60))
    found = audit(data, student="counting", out=tmp_path / "out", planted=60, doors=DOORS)
    truncated = kind(found["sides"][0], "truncated")
    assert (truncated["estimate"], truncated["reason"]) == (None, "low_hit_rate")
    assert truncated["alike"]["count"] == 30
    assert (truncated["missed"][0], truncated["missed"][1]["count"]) == ("truncation", 0)
    assert "finds only 0 % of planted `truncation`" in Path(found["page"]).read_text()
    shown = [e for e in found["examples"] if e["kind"] == "truncated"]
    assert sorted(e["row"] for e in shown) == list(range(30))
    assert sum(e["shown"] for e in shown) == 3
    assert "its text or its scores look like planted ones" in Path(found["page"]).read_text()


def test_the_break_even_table_compares_whole_intervals() -> None:
    found = {row.ratio: row for row in break_even_table(side())}
    assert found[1.0].share == pytest.approx(0.0526, abs=1e-3)
    assert [found[r].is_above for r in (0.1, 1.0, 5.0)] == ["unclear", "unclear", "no"]
    nothing = side(hit_rate=Prevalence(share=0.0, low=0.0, high=0.1))
    assert {(row.share, row.high) for row in break_even_table(nothing)} == {(None, None)}
    assert not any(row.is_above == "yes" for row in break_even_table(nothing))


def test_what_cannot_be_audited_is_refused(tmp_path: Path) -> None:
    asked = write_rows(tmp_path / "asked.jsonl", [{"instruction": "Only asked."}])
    with pytest.raises(DataError, match="response"):
        audit(asked, student="counting", out=tmp_path / "out", doors=DOORS)
    data = write_rows(tmp_path / "pairs.jsonl", pairs({}, count=3))
    run = tmp_path / "run"
    run.mkdir()
    (run / "manifest.json").write_text("{}")
    with pytest.raises(RunError, match="is a run folder or an experiment"):
        audit(data, student="counting", out=run, doors=DOORS)
    with pytest.raises(SettingsError, match="planted"):
        audit(data, student="counting", out=tmp_path / "out", planted=5, doors=DOORS)
    server = {"model": "m", "backend": "vllm", "base_url": "http://127.0.0.1:1/v1",
              "dtype": "float32"}  # fmt: skip
    with pytest.raises(SettingsError, match="needs entropies"):
        audit(data, student=server, out=tmp_path / "out", doors=DOORS)


def test_a_student_that_can_read_nothing_is_an_error_with_the_reason(tmp_path: Path) -> None:
    rows = [{"instruction": "Say it.", "output": " "}]
    data = write_rows(tmp_path / "rows.jsonl", rows)
    with pytest.raises(DataError, match=r"response|could read none"):
        audit(data, student="counting", out=tmp_path / "out", doors=DOORS)


def test_rows_in_memory_can_be_audited(tmp_path: Path) -> None:
    rows = read(pairs({}, count=10))
    found = audit(rows, student="counting", out=tmp_path / "out", doors=DOORS)
    assert found["rows"]["rows"] == 10
    assert found["inputs"] == {}


def test_the_python_api_gives_a_table_of_kinds(tmp_path: Path) -> None:
    rows = [{"instruction": f"Say {n}.", "output": str(n)} for n in range(8)]
    found = tt.audit(rows, "counting", out=tmp_path / "out", doors=DOORS)
    assert found.summary["status"] == "not_enough_rows"
    assert found.table.column_names == ["side", "kind", "share", "low", "high"]


def test_the_default_folder_is_named_after_the_data() -> None:
    assert default_out("../x/my rows.v2.jsonl.gz") == Path("audit-my-rows")
    assert default_out("hub/name") == Path("audit-name")


@pytest.mark.parametrize("as_json", [True, False])
def test_the_command_prints_text_for_people_or_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, as_json: bool
) -> None:
    monkeypatch.setattr(audit_run, "opened_student", _opened(opened_student))
    data = write_rows(tmp_path / "pairs.jsonl", pairs({}, count=20))
    words = ["audit", str(data), "--student", "counting", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, [*words, *(["--json"] if as_json else [])])
    assert result.exit_code == 0, result.output
    if as_json:
        assert json.loads(result.stdout)["status"] == "not_enough_rows"
    else:
        assert result.stdout.startswith(f"Audit of {data} by counting: 20 examples of 20")
        assert "No recommendation." in result.stdout
        assert f"Page: {tmp_path / 'out' / 'audit.html'}" in result.stdout


def _opened(real: Callable[..., Any]) -> Callable[..., Any]:
    def opened(settings: StudentSettings, _: Doors | None = None) -> Any:
        return real(settings, DOORS)

    return opened


TOWNS = ("Porto", "Lyon", "Turin", "Graz", "Bergen", "Cork", "Leeds", "Ghent", "Malmo", "Basel")
THINGS = ("bread", "a chair", "soup", "a kite", "a clock", "tea", "a fence", "a map")


def plain_rows() -> list[dict[str, str]]:
    """Short questions about towns and things; one answer in four is a refusal."""
    rows = []
    for n in range(80):
        town, thing = TOWNS[n % 10], THINGS[n // 10]
        output = (
            f"In {town} you can learn to make {thing} at the evening school near the station. "
            f"A course takes {2 + n % 7} weeks, and the teachers bring everything you need."
        )
        if n % 4 == 0:
            output = "I'm sorry, but I am not able to help you with this request."
        rows.append({"instruction": f"Where in {town} can I learn to make {thing}?",
                     "output": output})  # fmt: skip
    return rows


@pytest.mark.model
@pytest.mark.conformance
def test_a_real_student_finds_planted_refusals(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", plain_rows())
    found = audit(data, student="smollm2-135m", out=tmp_path / "out", planted=60)
    assert found["status"] == "ok"
    low_effort = kind(found["sides"][0], "low_effort")
    assert low_effort["hit_rate"]["count"] >= 0.9 * low_effort["hit_rate"]["rows"]
    refused = {e["row"] for e in found["examples"] if e["fault"] is not None}
    assert len(refused & set(range(0, 80, 4))) >= 15
    assert found["sides"][0]["estimate"]["share"] == pytest.approx(0.25, abs=0.12)


def test_python_audits_rows_in_memory_as_it_is_told_to_read_them(tmp_path: Path) -> None:
    asked = [{"ask": f"Name colour {n}.", "say": f"It is {n}, red and blue."} for n in range(4)]
    fields = {"instruction": "ask", "response": "say"}
    how: dict[str, Any] = {"doors": DOORS, "progress": False}
    for data in (asked, {"path": str(write_rows(tmp_path / "d.jsonl", asked))}):
        found = tt.audit(
            data, "s", out=tmp_path / "a", fields=fields, limit=3, dtype="float32", **how
        )
        assert found.summary["sample"]["drawn"] == 3
        assert found.summary["data"]["fields"] == fields
    tt.audit(asked, "s", out=tmp_path / "b", fields=fields, **how)
    written = "".join((tmp_path / "b" / n).read_text() for n in ("audit.json", "audit.html"))
    assert "input.jsonl" not in written
    assert json.loads((tmp_path / "b" / "audit.json").read_text())["data"]["path"] == "<rows>"
    with pytest.raises(SettingsError, match="takes no keyword 'exmples'"):
        tt.audit(asked, "s", exmples=3, **how)


def test_a_folder_that_cannot_be_written_is_known_before_the_student_reads(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    asked = [{"instruction": f"Name {n}.", "output": f"It is {n}."} for n in range(4)]

    def refuse(settings: StudentSettings) -> CountingStudent:
        raise AssertionError(settings)

    with pytest.raises(OSError, match="file"):
        tt.audit(asked, "s", out=tmp_path / "file" / "a", doors=Doors(open_student=refuse))
