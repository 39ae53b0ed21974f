"""Ranking as a stage: pools in, tables out, every answer accounted for, nothing asked twice."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipeline.fakes import doors, write_rows
from tests.tiny_student import save_student
from tutelage.errors import DataError, RunError, SettingsError
from tutelage.experiments.rank import rank_agreement, rank_sources, rank_teachers
from tutelage.experiments.rank.page import entrants_table, in_words, ranked_summary
from tutelage.experiments.rank.proxy_page import correlations, outcomes_of
from tutelage.experiments.rank.run import ask_and_rank, teachers_of
from tutelage.experiments.rank.student_agreement import judged
from tutelage.pipeline.resources import Doors
from tutelage.student import StudentSettings, TableStudent
from tutelage.teacher import TeacherSettings


def pool(questions: int = 12, teachers: tuple[str, ...] = ("tall", "small")) -> list[Any]:
    return [
        {
            "instruction": f"What is {n} and {n}?",
            "model": teacher,
            "output": f"{teacher} says " + " ".join(["it"] * (n % 3 + 2)) + f" is {2 * n}.",
            "gold": str(2 * n),
            "ok": teacher == "tall",
            "score": 1.0 + (teacher == "small"),
            "kind": "even" if n % 2 == 0 else "odd",
        }
        for n in range(questions)
        for teacher in teachers
    ]


def job(path: Path, out: Path, **more: Any) -> dict[str, Any]:
    return {
        "data": {"path": str(path)},
        "student": {"model": "table"},
        "out": str(out),
        "draws": 100,
        "report": False,
        **more,
    }


def test_teachers_are_ranked_and_every_answer_is_accounted_for(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "pool.jsonl", pool())
    found = rank_teachers(
        job(path, tmp_path / "out", fields={"right": "ok", "reward": "score", "domain": "kind"}),
        doors=doors(),
    )
    assert found.tally["answers"] == 24
    assert found.tally["questions"] == 12
    table = {row["entrant"]: row for row in entrants_table(found).to_pylist()}
    assert table["tall"]["accuracy"] == 1.0
    assert table["small"]["accuracy"] == 0.0
    assert table["small"]["reward"] == 2.0
    car = 2.0 / (1 - table["small"]["likelihood"])
    assert table["small"]["car"] == pytest.approx(car)
    domains = set(found.standings["domain"].to_pylist())
    assert domains == {"all", "even", "odd"}
    assert {r["rank"] for r in table.values() for r in [{"rank": r["rsr_rank"]}]} == {1, 2}
    assert in_words(found)[0].startswith("By rsr (lower is better)")
    json.dumps(ranked_summary(found))


def test_a_ranking_whose_manifest_lacks_a_value_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "pool.jsonl", pool(questions=2))
    rank_teachers(job(path, tmp_path / "out"), doors=doors())
    place = tmp_path / "out" / "manifest.json"
    manifest = json.loads(place.read_text())
    del manifest["stages"]["answers"]["seconds"]
    manifest["settings"]["car_weight"] = []
    place.write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=r"settings\.car_weight is \[\], not a number"):
        judged(tmp_path / "out")
    with pytest.raises(RunError, match=r"manifest\.json: stages\.answers\.seconds is missing"):
        rank_teachers(job(path, tmp_path / "out"), doors=doors())


def test_with_too_few_questions_nobody_is_called_surely_worse(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "pool.jsonl", pool(questions=6))
    found = rank_teachers(job(path, tmp_path / "out"), doors=doors())
    assert found.pairs.num_rows == 0
    said = in_words(found)
    assert not any("significantly worse" in sentence for sentence in said)
    assert any("1 other does not differ significantly" in sentence for sentence in said)


def test_the_sentences_name_the_level_that_was_asked_for(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "pool.jsonl", pool())
    found = rank_teachers(job(path, tmp_path / "out", level=0.8), doors=doors())
    said = ranked_summary(found, level=0.8)["in_words"]
    assert any("80 %" in sentence for sentence in said)
    assert not any("95 %" in sentence for sentence in said)


def test_answers_without_a_number_have_their_reason_and_are_in_no_mean(tmp_path: Path) -> None:
    rows = pool()
    rows[0]["output"] = "   "
    path = write_rows(tmp_path / "pool.jsonl", rows)
    found = rank_teachers(job(path, tmp_path / "out"), doors=doors())
    assert sum(n for s, n in found.tally["by_status"].items() if s != "ok") == 1
    table = {row["entrant"]: row for row in entrants_table(found).to_pylist()}
    assert (table["tall"]["answers"], table["tall"]["unscored"]) == (12, 1)


def test_rows_of_a_pool_that_are_no_answer_are_counted(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "pool.jsonl", pool())
    whole = path.read_text()
    path.write_text(whole + "no json\n" + whole.splitlines()[0] + "\n" + '{"model": "tall"}\n')
    found = rank_teachers(job(path, tmp_path / "ranked", report=True), doors=doors())
    assert found.tally["rows_left_out"] == {
        "malformed_json": 1, "duplicate": 1, "missing_fields": 1
    }  # fmt: skip
    assert "rows left out" in (tmp_path / "ranked" / "report.html").read_text()


def test_a_second_call_reads_nothing_again_and_ends_alike(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "pool.jsonl", pool())
    opened: list[TableStudent] = []

    def open_student(settings: StudentSettings) -> TableStudent:
        opened.append(TableStudent(name=settings.model))
        return opened[-1]

    ways = Doors(open_student=open_student)
    one = rank_teachers(job(path, tmp_path / "out"), doors=ways)
    two = rank_teachers(job(path, tmp_path / "out", by="likelihood"), doors=ways)
    assert [s.candidates_read for s in opened] == [24, 0]
    assert one.standings.equals(two.standings)
    assert two.by == "likelihood"


def test_the_draw_of_questions_does_not_depend_on_their_order(tmp_path: Path) -> None:
    rows = pool()
    one = write_rows(tmp_path / "one.jsonl", rows)
    two = write_rows(tmp_path / "two.jsonl", rows[::-1])
    found = [
        rank_teachers(job(p, tmp_path / p.stem, questions=5), doors=doors()) for p in (one, two)
    ]
    assert found[0].tally["questions"] == 5
    one_table, two_table = (f.answers.drop_columns(["domain"]) for f in found)
    assert one_table.equals(two_table)


def test_answers_are_checked_against_their_references(tmp_path: Path) -> None:
    rows = pool()
    rows[0]["output"] = "tall says it is 77."
    path = write_rows(tmp_path / "pool.jsonl", rows)
    found = rank_teachers(job(path, tmp_path / "out", check={"check": "number"}), doors=doors())
    table = {row["entrant"]: row for row in entrants_table(found).to_pylist()}
    assert table["tall"]["accuracy"] == pytest.approx(11 / 12)


@pytest.mark.parametrize("kind", ["right", "reward", "domain"])
def test_a_field_that_no_row_has_is_an_error_that_names_those_there_are(
    tmp_path: Path, kind: str
) -> None:
    path = write_rows(tmp_path / "pool.jsonl", pool())
    with pytest.raises(DataError, match="no row has the field 'okay'") as caught:
        rank_teachers(job(path, tmp_path / "out", fields={kind: "okay"}), doors=doors())
    assert {"ok", "score", "kind"} <= set(str(caught.value.hint).replace(",", "").split())
    bare = [{k: v for k, v in row.items() if k in ("instruction", "model", "output")}
            for row in pool()]  # fmt: skip
    path = write_rows(tmp_path / "bare.jsonl", bare)
    with pytest.raises(DataError, match="no row has the field 'okay'") as caught:
        rank_teachers(job(path, tmp_path / "out", fields={kind: "okay"}), doors=doors())
    assert str(caught.value.hint) == "the rows have no further fields"


def test_a_pool_without_names_says_how_to_name_the_teachers(tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "model"} for row in pool(teachers=("one",))]
    path = write_rows(tmp_path / "pool.jsonl", rows)
    found = rank_teachers(job(path, tmp_path / "out"), doors=doors())
    assert "--map model=FIELD names the field" in " ".join(in_words(found))
    named = write_rows(tmp_path / "named.jsonl", pool(teachers=("one",)))
    found = rank_teachers(job(named, tmp_path / "named"), doors=doors())
    assert "--map" not in " ".join(in_words(found))


def test_an_unknown_deciding_predictor_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"by: unknown predictor 'rrs'; there are rsr, "):
        rank_teachers(job(tmp_path, tmp_path / "out", by="rrs"), doors=doors())


def test_an_answer_cannot_be_more_than_right(tmp_path: Path) -> None:
    rows = pool()
    rows[0]["ok"] = 7
    path = write_rows(tmp_path / "pool.jsonl", rows)
    with pytest.raises(DataError, match="ok is 7, it must be finite and at least 0 and at most 1"):
        rank_teachers(job(path, tmp_path / "out", fields={"right": "ok"}), doors=doors())


def test_the_distance_of_styles_needs_the_students_own_answers(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "pool.jsonl", pool())
    own = {"asked_through": {"model": "itself"}}
    ways = doors(lambda _: "small says it it is 4.")
    found = rank_teachers(job(path, tmp_path / "out", own=own, by="style_distance"), doors=ways)
    table = {row["entrant"]: row for row in entrants_table(found).to_pylist()}
    assert table["small"]["style_distance"] < table["tall"]["style_distance"]


def test_sources_have_questions_of_their_own(tmp_path: Path) -> None:
    rows = [
        {"instruction": f"{s} question {n}", "output": f"answer {n} of {s}", "source": s}
        for s in ("alpha", "beta")
        for n in range(10)
    ]
    path = write_rows(tmp_path / "data.jsonl", rows)
    found = rank_sources(job(path, tmp_path / "out", questions=6), doors=doors())
    assert found.settling is None
    assert {r["entrant"]: r["questions"] for r in found.standings.to_pylist()} == {
        "alpha": 6,
        "beta": 6,
    }


def test_teachers_are_asked_in_blocks_within_the_budget_and_nobody_twice(tmp_path: Path) -> None:
    rows = [{"instruction": f"Say {n} in words."} for n in range(30)]
    path = write_rows(tmp_path / "questions.jsonl", rows)
    asked: list[str] = []
    ways = doors(lambda request: f"An answer {request.key[:4]}.", asked=asked)
    given = [TeacherSettings(model="one"), TeacherSettings(model="two")]
    found = ask_and_rank(
        job(path, tmp_path / "out"), teachers=given, budget=20, block=8, doors=ways
    )
    assert found.tally["asked"] == {"one": 20, "two": 20}
    assert len(asked) == 40
    again = ask_and_rank(
        job(path, tmp_path / "out"), teachers=given, budget=20, block=8, doors=ways
    )
    assert len(asked) == 40
    assert again.standings.equals(found.standings)
    assert pq.read_metadata(tmp_path / "out" / "candidates.parquet").num_rows == 40


def test_a_teacher_that_cannot_be_first_is_not_asked_on(tmp_path: Path) -> None:
    rows = [{"instruction": f"Say {n} in words."} for n in range(90)]
    path = write_rows(tmp_path / "questions.jsonl", rows)

    def open_student(_: StudentSettings) -> TableStudent:
        return TableStudent(
            mean_nats=lambda c, _: 1.0 + (c.teacher == "worse") + int(c.example_id[:4], 16) / 1e6
        )

    ways = Doors(open_student=open_student, open_teacher=doors(lambda _: "Yes it is.").open_teacher)
    found = ask_and_rank(
        job(path, tmp_path / "out", by="likelihood"),
        teachers=[TeacherSettings(model="better"), TeacherSettings(model="worse")],
        budget=90,
        block=30,
        doors=ways,
    )
    assert found.tally["asked"] == {"better": 30, "worse": 30}
    assert any("settled" in sentence for sentence in in_words(found))


def test_a_list_of_teachers_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "teachers.yaml"
    path.write_text("- {model: one}\n- {model: one}\n")
    with pytest.raises(SettingsError, match="the same name"):
        teachers_of(path)
    path.write_text("model: one\n")
    with pytest.raises(SettingsError, match="list of teachers"):
        teachers_of(path)


def test_what_cannot_be_ranked_is_said(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "pool.jsonl", pool(2))
    with pytest.raises(SettingsError, match="its values are not available"):
        rank_teachers(job(path, tmp_path / "a", by="accuracy"), doors=doors())
    with pytest.raises(SettingsError, match="unknown predictor 'nothing'"):
        rank_teachers(job(path, tmp_path / "b", predictors=["nothing"]), doors=doors())
    with pytest.raises(SettingsError, match="needs fields"):
        rank_teachers(job(path, tmp_path / "c", by="car"), doors=doors())
    rows = pool(1)
    rows[0]["score"] = -1
    path = write_rows(tmp_path / "bad.jsonl", rows)
    with pytest.raises(DataError, match="at least 0"):
        rank_teachers(job(path, tmp_path / "d", fields={"reward": "score"}), doors=doors())


def test_the_page_and_the_plots_are_written(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "pool.jsonl", pool())
    rank_teachers(job(path, tmp_path / "out", report=True), doors=doors())
    assert "may be the best" in (tmp_path / "out" / "report.html").read_text()
    plots = {p.suffix for p in (tmp_path / "out" / "plots").iterdir()}
    assert plots == {".svg", ".png"}


def test_students_that_judge_alike_agree_and_others_are_counted(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "pool.jsonl", pool(teachers=("a", "b", "c", "d", "e")))
    for name, model in (("one", "table"), ("same", "table"), ("other", "stranger")):
        values = job(path, tmp_path / name, student={"model": model})
        rank_teachers(values, doors=doors())
    folders = [tmp_path / name for name in ("one", "same", "other")]
    table = rank_agreement(folders, out=tmp_path / "agreement")
    found = {
        (r["one"], r["other"], r["predictor"], r["measure"]): r["value"] for r in table.to_pylist()
    }
    assert found["one", "same", "rsr", "flipped"] == 0.0
    assert found["one", "same", "rsr", "spearman_entrants"] == 1.0
    assert found["one", "same", "rsr", "overlap_best_25_percent"] == 1.0
    assert ("one", "other", "likelihood", "flipped") in found
    assert (tmp_path / "agreement" / "report.html").is_file()
    with pytest.raises(SettingsError, match="two rankings"):
        rank_agreement(folders[:1])
    with pytest.raises(SettingsError, match="not every ranking has car"):
        rank_agreement(folders, predictors=["car"])


def test_correlations_with_what_was_measured_keep_their_sign(tmp_path: Path) -> None:
    rows = [
        {"domain": "all", "predictor": p, "entrant": f"t{n}", "better": b, "value": float(v)}
        for p, b, v_of in (("rsr", "lower", lambda n: -n), ("length", "neither", lambda n: n))
        for n in range(6)
        for v in [v_of(n)]
    ]
    path = tmp_path / "measured.csv"
    path.write_text("model,score\n" + "".join(f"t{n},{n}\n" for n in range(6)) + "t9,\n")
    outcomes = outcomes_of(path, entrant="model", columns=["score"])
    found = {
        r["predictor"]: r for r in correlations(pa.Table.from_pylist(rows), outcomes).to_pylist()
    }
    assert found["rsr"]["spearman"] == -1.0
    assert found["rsr"]["as_claimed"] == 1.0
    assert found["length"]["as_claimed"] == 1.0
    with pytest.raises(DataError, match="no column"):
        outcomes_of(path, entrant="model", columns=["rate"])


def test_grace_has_so_many_questions_of_each_source(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    save_student(tmp_path / "student")
    rows = [
        {"instruction": f"{s} {n}?", "output": f"{n} of {s}", "source": s}
        for s in ("alpha", "beta")
        for n in range(12)
    ]
    path = write_rows(tmp_path / "data.jsonl", rows)
    student = {"model": str(tmp_path / "student"), "dtype": "float32", "use_cache": False}
    found = rank_sources(
        job(path, tmp_path / "out", student=student, grace={"questions": 10, "dimensions": 4})
    )
    graced = [r for r in found.standings.to_pylist() if r["predictor"] == "grace"]
    assert {r["entrant"]: r["questions"] for r in graced} == {"alpha": 10, "beta": 10}


def test_grace_is_kept_teacher_by_teacher(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    save_student(tmp_path / "student")
    path = write_rows(tmp_path / "pool.jsonl", pool(10))
    student = {"model": str(tmp_path / "student"), "dtype": "float32", "use_cache": False}
    values = job(path, tmp_path / "out", student=student, grace={"questions": 10, "dimensions": 4})
    found = rank_teachers(values)
    rows = [r for r in found.standings.to_pylist() if r["predictor"] == "grace"]
    assert [r["rank"] for r in rows] == [1, 2]
    assert rows[0]["value"] < rows[1]["value"]
    kept = sorted((tmp_path / "out" / "gradients").iterdir())
    before = [p.stat().st_mtime_ns for p in kept]
    again = rank_teachers(values)
    assert again.standings.equals(found.standings)
    assert [p.stat().st_mtime_ns for p in kept] == before
