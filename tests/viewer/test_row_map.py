"""The map of rows, the search by meaning, and the quality gate's verdicts in the viewer."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from tests.viewer.conftest import EXAMPLES
from tests.viewer.test_query import shown
from tutelage.data import write_table
from tutelage.errors import DataError
from tutelage.pipeline import RunFolder
from tutelage.pipeline.gate_results import QUALITY_GATE
from tutelage.progress import Silent
from tutelage.viewer import Shelf, open_index, search
from tutelage.viewer.app import about
from tutelage.viewer.example_detail import lineage_of
from tutelage.viewer.list_view import facets_of, handed_out, map_of
from tutelage.viewer.query import question_of
from tutelage.viewer.search import plane_of

SUBJECTS = ("river", "copper", "planet", "letter", "winter")


class Subjects:
    """An embedder that knows five subjects: how often each is named."""

    name = "subjects"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        counts = [[1 + text.count(word) for word in SUBJECTS] for text in texts]
        rows = np.array(counts, dtype=np.float32).reshape(-1, len(SUBJECTS))
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def knowing(run: RunFolder, tmp_path: Path) -> Iterator[Shelf]:
    """The run with an embedder."""
    index = open_index(run, scratch=tmp_path, progress=Silent())
    opened = Shelf(run, index, embedder=Subjects())
    yield opened
    opened.close()


def mapped(shelf: Shelf, *parameters: tuple[str, str]) -> dict[str, Any]:
    question = question_of(parameters, shelf.names)
    while True:
        found = map_of(shelf, question)
        if found["progress"] == 1:
            return found


def test_every_row_is_on_the_map_in_the_colour_of_its_decision(shelf: Shelf) -> None:
    found = mapped(shelf)
    assert found["kind"] == "points"
    assert len(found["points"]) == found["count"] == found["rows"] == EXAMPLES
    outcomes = facets_of(shelf, question_of([], shelf.names))["facets"]["outcome"]["values"]
    counts = {value["value"]: value["count"] for value in outcomes}
    kinds = Counter(point[3] for point in found["points"])
    assert kinds == {
        0: counts["refused"], 1: counts["kept_original"], 2: counts["kept_refined"]
    }  # fmt: skip
    assert "no model" in found["embedder"]


def test_an_area_of_the_map_filters_the_list_and_not_the_map(shelf: Shelf) -> None:
    points = mapped(shelf)["points"]
    x0, x1 = np.quantile([p[1] for p in points], [0.2, 0.7])
    y0, y1 = np.quantile([p[2] for p in points], [0.1, 0.9])
    inside = {i for i, x, y, _ in points if x0 <= x <= x1 and y0 <= y <= y1}
    assert 0 < len(inside) < EXAMPLES
    area = ("area", f"{x0!r}:{x1!r}:{y0!r}:{y1!r}".replace("np.float64(", "").replace(")", ""))
    assert {row["id"] for row in shown(shelf, area)} == inside
    assert len(mapped(shelf, area)["points"]) == EXAMPLES
    refused = {row["id"] for row in shown(shelf, area, ("outcome", "refused"))}
    assert refused == inside & {i for i, *_, kind in points if kind == 0}
    values = facets_of(shelf, question_of([area], shelf.names))["facets"]["outcome"]["values"]
    assert sum(value["count"] for value in values) == len(inside)


def test_the_map_is_the_same_every_time(run: RunFolder, tmp_path: Path) -> None:
    index = open_index(run, scratch=tmp_path, progress=Silent())
    found = []
    for _ in range(2):
        opened = Shelf(run, index)
        found.append(mapped(opened)["points"])
        opened.close()
    assert found[0] == found[1]


def test_a_rectangle_that_is_none_is_refused(shelf: Shelf) -> None:
    for text in ("1:2:3", "1:2:3:x", "0:1:0:nan"):
        with pytest.raises(DataError, match="area"):
            question_of([("area", text)], shelf.names)


def test_the_rows_nearest_in_meaning_come_first(knowing: Shelf, monkeypatch: Any) -> None:
    monkeypatch.setattr(search, "NEAREST", 20)
    rows = shown(knowing, ("near", "river river river"))
    assert len(rows) == 20
    texts = {
        r["example_id"]: r["messages"] for r in pq.read_table(knowing.run.examples).to_pylist()
    }
    (wanted,) = Subjects().embed(["river river river"])

    def cosine(example: str) -> float:
        turns = texts[example]
        user = next(t["content"] for t in reversed(turns) if t["role"] == "user")
        answer = turns[-1]["content"] if turns[-1]["role"] == "assistant" else ""
        return float((Subjects().embed([user[:1000], answer[:1000]]) @ wanted).max())

    cosines = [cosine(row["id"]) for row in rows]
    assert cosines == sorted(cosines, reverse=True)
    others = set(texts) - {row["id"] for row in rows}
    assert max(map(cosine, others)) <= cosines[-1] + 1e-6
    by_row = shown(knowing, ("near", "river river river"), ("sort", "-row"))
    assert [r["row"] for r in by_row] == sorted((r["row"] for r in rows), reverse=True)
    kept = shown(knowing, ("near", "river river river"), ("outcome", "refused"))
    assert {row["id"] for row in kept} == {row["id"] for row in rows if not row["kept"]}
    csv = b"".join(handed_out(knowing, question_of([("near", "river")], knowing.names), form="csv"))
    assert len(csv.decode().strip().split("\n")) >= 21


def test_without_a_model_the_search_by_meaning_says_what_to_do(shelf: Shelf) -> None:
    with pytest.raises(DataError, match="needs a static embedding model") as caught:
        shown(shelf, ("near", "a river"))
    assert "tutelage[filters]" in str(caught.value.hint)
    assert "--embedder" in str(caught.value.hint)
    found = about(shelf)
    assert found["by_meaning"] is None
    assert found["no_model"][0] == str(caught.value)


def test_a_model_that_fails_is_an_error_and_no_empty_map(run: RunFolder, tmp_path: Path) -> None:
    class Broken(Subjects):
        def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
            raise ValueError(f"cannot embed {len(texts)} texts")

    index = open_index(run, scratch=tmp_path, progress=Silent())
    opened = Shelf(run, index, embedder=Broken())
    opened.row_map.wait(30)
    with pytest.raises(DataError, match="could not be embedded: ValueError: cannot embed"):
        map_of(opened, question_of([], opened.names))
    opened.close()


def test_of_many_rows_a_draw_is_mapped_and_the_page_says_so(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MOST_ROWS", 30)
    found = mapped(shelf)
    assert (found["drawn"], found["rows"], len(found["points"])) == (30, EXAMPLES, 30)


def test_the_plane_keeps_the_two_directions_of_largest_spread() -> None:
    rng = np.random.default_rng(0)
    wide, high, flat = rng.normal(size=(3, 200))
    vectors = np.stack([0.1 * flat, 9 * wide, 3 * high], axis=1).astype(np.float32)
    found = plane_of(vectors)
    assert abs(np.corrcoef(found[:, 0], wide)[0, 1]) > 0.99
    assert abs(np.corrcoef(found[:, 1], high)[0, 1]) > 0.99
    assert plane_of(vectors[:1]).tolist() == [[0.0, 0.0]]
    assert plane_of(vectors[:, :1]).shape == (200, 2)


# ---- the quality gate


@pytest.fixture
def gated(run: RunFolder, tmp_path: Path) -> Iterator[Shelf]:
    """The run with results of a gate: every fourth version refused, by turns for two faults."""
    rows = []
    candidates = [c for c in pq.read_table(run.candidates).to_pylist() if c["status"] == "ok"]
    for at, candidate in enumerate(candidates):
        rows.append(
            {
                "candidate_id": candidate["candidate_id"],
                "example_id": candidate["example_id"],
                "student": "s",
                "status": "judged",
                "passed": at % 4 > 0,
                "fault": "echo" if at % 8 else "wrong_letters",
                "excess": 1.0 if at % 4 == 0 else -1.0,
                "evidence": json.dumps({"log_ifd": [0.5, 1.25], "made_up": [None, 0.5]}),
            }
        )
    write_table(run.quality_gate_table, pa.Table.from_pylist(rows, schema=QUALITY_GATE))
    opened = Shelf(run, open_index(run, scratch=tmp_path, progress=Silent()))
    yield opened
    opened.close()


def test_the_list_is_filtered_by_the_fault_of_a_refused_version(gated: Shelf) -> None:
    results = pq.read_table(gated.run.quality_gate_table).to_pylist()
    values = facets_of(gated, question_of([], gated.names))["facets"]["fault"]["values"]
    assert {value["label"] for value in values} == {"echo", "wrong letters"}
    for value in values:
        rows = shown(gated, ("fault", value["value"]))
        assert len(rows) == value["count"]
        assert {row["id"] for row in rows} == {
            r["example_id"] for r in results if not r["passed"] and r["fault"] == value["value"]
        }
    assert "fault" in about(gated)["facets"]


def test_each_version_has_its_verdict_and_the_numbers_behind_it(gated: Shelf) -> None:
    results = {
        r["candidate_id"]: r for r in pq.read_table(gated.run.quality_gate_table).to_pylist()
    }
    row = shown(gated, ("fault", "wrong_letters"))[0]
    versions = lineage_of(gated, row["id"])["versions"]
    assert any(v["gate"] and not v["gate"]["passed"] for v in versions)
    for version in versions:
        stored = results.get(version["candidate_id"])
        assert (version["gate"] is None) == (stored is None)
        if stored is not None:
            assert version["gate"]["passed"] == stored["passed"]
            assert version["gate"]["fault_words"] == stored["fault"].replace("_", " ")
            named = {e["name"]: e for e in version["gate"]["evidence"]}
            assert named["log_ifd"]["value"] == 0.5
            assert "surprise given the instruction" in named["log_ifd"]["about"]


def test_a_gate_that_came_later_is_a_reason_for_a_new_index(gated: Shelf, tmp_path: Path) -> None:
    assert not gated.is_stale
    gated.run.quality_gate_table.unlink()
    assert gated.is_stale
    again = Shelf(gated.run, open_index(gated.run, scratch=tmp_path, progress=Silent()))
    assert "fault" not in about(again)["facets"]
    assert lineage_of(again, shown(again)[0]["id"])["versions"][0]["gate"] is None
    again.close()
