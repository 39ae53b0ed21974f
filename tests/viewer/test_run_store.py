"""One row: its lineage, its differences, its tokens, its decision; and what is handed out."""

import csv
import io
import json
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.viewer.conftest import DOORS
from tutelage.data.schemas import TOKENS
from tutelage.errors import DataError, RunError, SettingsError
from tutelage.pipeline import RunFolder
from tutelage.pipeline.overrides import overrule
from tutelage.pipeline.resources import Doors
from tutelage.progress import Silent
from tutelage.student import TableStudent
from tutelage.viewer import Shelf, open_index
from tutelage.viewer.counterfactuals import judgement_of, otherwise, would_be
from tutelage.viewer.example_detail import differences_of, example_named, lineage_of, lost_rows
from tutelage.viewer.list_view import handed_out
from tutelage.viewer.query import question_of
from tutelage.viewer.search import terms_of
from tutelage.viewer.token_heatmap import Heat, pieces_of


def ids(shelf: Shelf, where: str = "true") -> list[str]:
    return [i for (i,) in shelf.ask(f"select example_id from e where {where} order by n")]  # noqa: S608


def test_a_lineage_holds_every_version_with_its_numbers(shelf: Shelf) -> None:
    scores = {r["candidate_id"]: r for r in pq.read_table(shelf.run.scores).to_pylist()}
    decided = {r["example_id"]: r for r in pq.read_table(shelf.run.decisions).to_pylist()}
    for example_id in ids(shelf):
        found = lineage_of(shelf, example_id)
        kept = [v["candidate_id"] for v in found["versions"] if v["in_force"]]
        assert kept == [c for c in [decided[example_id]["candidate_id"]] if c]
        assert found["reason"] == decided[example_id]["reason"]
        for version in found["versions"]:
            score = scores.get(version["candidate_id"])
            if score is not None:
                assert version["numbers"].get("ifd") == score["ifd"]
    with pytest.raises(DataError, match="there is no example 'nobody'"):
        lineage_of(shelf, "nobody")


def test_an_example_may_be_named_by_row_and_by_the_beginning_of_its_id(shelf: Shelf) -> None:
    first = ids(shelf)[0]
    row = lineage_of(shelf, first)["row"]
    assert example_named(shelf, f"row:{row}") == first
    assert example_named(shelf, first[:12]) == first
    assert example_named(shelf, "") is None
    assert example_named(shelf, "row:99999999") is None
    assert example_named(shelf, "row:x") is None


def test_the_words_that_both_have_are_the_same(shelf: Shelf) -> None:
    example = ids(shelf, "kept and step <> 'original'")[0]
    versions = [v for v in lineage_of(shelf, example)["versions"] if "response" in v]
    left, right = versions[0], versions[-1]
    found = differences_of(shelf, example, left=left["candidate_id"], right=right["candidate_id"])
    for side in ("instruction", "response"):
        a, b = ["".join(t for k, t in s if k == "same") for s in found[side]]
        assert a == b
        assert "".join(t for _, t in found[side][1]).startswith(right[side][:10])
    with pytest.raises(DataError, match="no version 'x' with text"):
        differences_of(shelf, example, left="x", right=right["candidate_id"])


def test_tokens_of_both_sides_are_those_the_student_read(shelf: Shelf) -> None:
    heat = Heat(shelf, doors=DOORS)
    example = ids(shelf, "kept")[0]
    version = next(v for v in lineage_of(shelf, example)["versions"] if v["in_force"])
    found = heat.of(example, version["candidate_id"], read=False)
    assert found["status"] == "ok"
    for side in ("instruction", "response"):
        one = found["sides"][side]
        assert len(one["tokens"]) == len(one["given"]) == len(one["alone"]) == len(one["rank"])
        assert [t.strip() for t in one["tokens"]] == version[side].split()
        assert all(0 <= nats <= 8 for nats in one["given"])
    heat.close()


def test_a_version_without_text_has_no_tokens(shelf: Shelf) -> None:
    n, _ = shelf.ask("select n, k from c where status = 'refused' or status = 'unparseable'")[0]
    example = shelf.ask("select example_id from e where n = $n", {"n": n})[0][0]
    failed = next(v for v in lineage_of(shelf, example)["versions"] if "response" not in v)
    found = Heat(shelf, doors=DOORS).of(example, failed["candidate_id"], read=True)
    assert found == {"status": "unscored", "reason": failed["status"]}
    with pytest.raises(DataError, match="has no version 'x'"):
        Heat(shelf, doors=DOORS).of(example, "x", read=False)


def test_what_was_not_read_is_said_and_is_read_on_request(shelf: Shelf) -> None:
    class Forgetful(TableStudent):
        def recall(self, candidates, *, views):
            assert views
            return (None for _ in candidates)

    heat = Heat(shelf, doors=Doors(open_student=lambda s: Forgetful(name=s.model)))
    example = ids(shelf, "kept")[0]
    version = next(v for v in lineage_of(shelf, example)["versions"] if v["in_force"])
    found = heat.of(example, version["candidate_id"], read=False)
    assert (found["status"], found["can_read"]) == ("absent", True)
    assert heat.of(example, version["candidate_id"], read=True)["status"] == "ok"


def test_statistics_that_the_run_keeps_are_shown_without_a_student(
    run: RunFolder, tmp_path: Path
) -> None:
    rows = []
    for score in pq.read_table(run.scores).to_pylist():
        at = {"candidate_id": score["candidate_id"], "example_id": score["example_id"]}
        two = {"response": "a b", "response_ids": [1, 2], "response_starts": [0, 1]}
        both = {
            "logprobs_response": [-1.0, -2.0],
            "logprobs_response_given_instruction": [-0.5, -3],
        }
        rows.append({**at, "status": "ok", **two, **both})
    pq.write_table(pa.Table.from_pylist(rows, schema=TOKENS), run.statistics)
    shelf = Shelf(run, open_index(run, scratch=tmp_path, progress=Silent()))

    def nobody(_: object) -> TableStudent:
        raise AssertionError("the student was opened")

    example = ids(shelf, "kept")[0]
    version = next(v for v in lineage_of(shelf, example)["versions"] if v["in_force"])
    found = Heat(shelf, doors=Doors(open_student=nobody)).of(
        example, version["candidate_id"], read=False
    )
    assert found["sides"]["response"]["alone"] == [1.0, 2.0]
    assert found["sides"]["response"]["given"] == [0.5, 3.0]
    assert found["sides"]["response"]["tokens"] == ["a", " b"]
    assert "instruction" not in found["sides"]
    shelf.close()


def test_another_student_is_not_taken_for_the_one_that_scored(shelf: Shelf) -> None:
    heat = Heat(shelf, doors=Doors(open_student=lambda _: TableStudent(name="another")))
    example = ids(shelf, "kept")[0]
    version = next(v for v in lineage_of(shelf, example)["versions"] if v["in_force"])
    found = heat.of(example, version["candidate_id"], read=True)
    assert found["status"] == "failed"
    assert "the scores are of" in found["reason"]


@given(st.text(max_size=40), st.integers(1, 12), st.randoms())
def test_the_pieces_of_a_text_put_together_are_the_text(text: str, tokens: int, random) -> None:
    starts = np.array(sorted(random.randint(0, len(text)) for _ in range(tokens)), dtype=np.int32)
    from tutelage.reporting.blocks import visible

    lead, pieces = pieces_of(text, starts, tokens=tokens)
    assert pieces is not None
    assert len(pieces) == tokens
    # What is invisible is made visible piece by piece; a CR LF may be cut in two.
    if "\r" not in text:
        assert lead + "".join(pieces) == visible(text)


def test_starts_that_do_not_fit_show_no_pieces() -> None:
    assert pieces_of("abc", np.array([0, 2], dtype=np.int32), tokens=3) == ("", None)
    assert pieces_of("abc", np.array([2, 0, 1], dtype=np.int32), tokens=3) == ("", None)
    assert pieces_of("abc", None, tokens=1) == ("", None)


def test_the_decision_is_told_and_other_rules_are_tried(shelf: Shelf) -> None:
    for example in ids(shelf)[:6]:
        told = judgement_of(shelf, example)
        assert told["sentences"][-1].startswith(("Kept", "Nothing"))
        same = would_be(shelf, example, {"rule": "srt", "mode": "safe", "margin": "0"})
        decided = lineage_of(shelf, example)
        kept = [v["candidate_id"] for v in decided["versions"] if v["by_rule"]]
        assert [same["candidate_id"]] == (kept or [None])
        others = otherwise(shelf, example)
        assert {o["name"] for o in others["others"]} >= {"srt, paper", "grape", "rsr"}


def test_the_margins_that_turn_a_decision_are_exact(shelf: Shelf) -> None:
    turned = 0
    for example in ids(shelf, "kept and step <> 'original'")[:7]:
        points = otherwise(shelf, example)["turns"]
        for before, after in pairwise(points):
            turned += 1
            below = would_be(shelf, example, {"margin": after["margin"] - 1e-9})
            at = would_be(shelf, example, {"margin": after["margin"]})
            assert below["candidate_id"] == before["candidate_id"]
            assert at["candidate_id"] == after["candidate_id"]
    assert turned > 1


def test_a_rule_that_needs_all_examples_is_not_guessed(shelf: Shelf) -> None:
    with pytest.raises(SettingsError, match="keeps a share"):
        would_be(shelf, ids(shelf)[0], {"rule": "longest"})
    with pytest.raises(SettingsError, match="margin"):
        would_be(shelf, ids(shelf)[0], {"margin": "wide"})


def test_rows_that_are_no_example_are_listed_with_the_reason(shelf: Shelf) -> None:
    rows = lost_rows(shelf)
    assert len(rows) == sum(shelf.meta.lost.values()) > 0
    assert {row["status"] for row in rows} == set(shelf.meta.lost)


def handed(shelf: Shelf, form: str, *parameters: tuple[str, str]) -> str:
    lines = handed_out(shelf, question_of(parameters, shelf.names), form=form)
    return b"".join(lines).decode()


def test_what_is_shown_is_handed_out_in_its_order(shelf: Shelf) -> None:
    order = ("sort", "-ifd:chosen")
    rows = [json.loads(line) for line in handed(shelf, "jsonl", order).splitlines()]
    kept = ids(shelf, "kept")
    assert sorted(row["example_id"] for row in rows) == sorted(kept)
    wanted = [i for (i,) in shelf.ask("select example_id from e where kept order by k_ifd desc, n")]
    assert [row["example_id"] for row in rows] == wanted
    assert all(row["messages"][-1]["role"] == "assistant" for row in rows)
    listed = list(csv.DictReader(io.StringIO(handed(shelf, "csv", ("outcome", "refused")))))
    assert [row["example_id"] for row in listed] == ids(shelf, "not kept")
    assert "ifd_original" in listed[0]
    with pytest.raises(SettingsError, match="unknown format"):
        handed(shelf, "xlsx")


def test_an_override_is_in_what_is_handed_out(shelf: Shelf) -> None:
    example = ids(shelf, "kept and step <> 'original'")[0]
    original = lineage_of(shelf, example)["versions"][0]
    overrule(shelf.run, example, candidate_id=original["candidate_id"], note="")
    shelf.refresh()
    rows = [json.loads(line) for line in handed(shelf, "jsonl").splitlines()]
    mine = next(row for row in rows if row["example_id"] == example)
    assert (mine["candidate_id"], mine["rule"]) == (original["candidate_id"], "person")


def test_a_cell_that_a_spreadsheet_would_run_is_made_harmless(shelf: Shelf) -> None:
    from tutelage.viewer.list_view import _harmless

    assert _harmless("=HYPERLINK(1)") == "'=HYPERLINK(1)"
    assert _harmless(-1.5) == -1.5


def test_terms_are_words_or_phrases() -> None:
    assert terms_of('  a  "b  c" d a ') == ("a", "b  c", "d")
    assert terms_of('"open end') == ("open end",)
    assert terms_of('""') == ()


def test_an_index_is_made_once_and_again_when_a_table_changes(
    run: RunFolder, tmp_path: Path
) -> None:
    first = open_index(run, scratch=tmp_path, progress=Silent())
    made = first.stat().st_mtime_ns
    assert open_index(run, scratch=tmp_path, progress=Silent()).stat().st_mtime_ns == made
    os.utime(run.decisions)
    assert open_index(run, scratch=tmp_path, progress=Silent()).stat().st_mtime_ns != made


def test_a_damaged_index_is_made_again(run: RunFolder, tmp_path: Path) -> None:
    path = open_index(run, scratch=tmp_path, progress=Silent())
    path.write_bytes(path.read_bytes()[:5000])
    again = open_index(run, scratch=tmp_path, progress=Silent())
    shelf = Shelf(run, again)
    assert shelf.meta.examples > 0
    shelf.close()


def test_a_run_without_scores_or_decisions_can_be_looked_at(run: RunFolder, tmp_path: Path) -> None:
    run.scores.unlink()
    run.decisions.unlink()
    shelf = Shelf(run, open_index(run, scratch=tmp_path, progress=Silent()))
    assert shelf.meta.kept == 0
    found = lineage_of(shelf, ids(shelf)[0])
    assert found["reason"] is None
    assert judgement_of(shelf, ids(shelf)[0])["sentences"]
    shelf.close()


def test_a_run_without_candidates_says_what_is_missing(run: RunFolder, tmp_path: Path) -> None:
    run.candidates.unlink()
    with pytest.raises(RunError, match="is not there yet"):
        open_index(run, scratch=tmp_path, progress=Silent())
