from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipeline.fakes import rows
from tutelage.data import Unscored, read
from tutelage.metrics import table_metrics
from tutelage.pipeline.score_stage import here, score_file, score_rows
from tutelage.student import TableStudent


def scored(values: list[object], tmp_path: Path, *metrics: str) -> list[dict[str, object]]:
    out = tmp_path / "s.parquet"
    score_file(read(values), student=TableStudent(), metrics=metrics or ("ifd", "r_ifd"), out=out)
    return pq.read_table(out).to_pylist()


def test_there_is_one_row_for_each_input_row_in_order(tmp_path: Path) -> None:
    values = [*rows(3), ["not an object"], rows(1)[0], {"instruction": "only asked"}, *rows(5)[4:]]
    found = scored(values, tmp_path)
    assert [r["row"] for r in found] == list(range(7))
    assert [r["status"] for r in found] == [
        *["ok"] * 3,
        "not_an_object",
        "ok",
        "no_candidates",
        "ok",
    ]
    assert found[4]["candidate_id"] == found[0]["candidate_id"]
    assert found[4]["ifd"] == found[0]["ifd"]
    assert found[3]["ifd"] is None


def test_a_refined_pair_has_a_row_for_each_version(tmp_path: Path) -> None:
    pair = {"instruction": "Why?", "original_output": "So.", "refined_output": "Because of it."}
    found = scored([pair], tmp_path)
    assert [(r["row"], r["step"]) for r in found] == [
        (0, "original"),
        (0, "response_reflection"),
    ]


def test_the_whole_panel_can_be_asked_for_at_once(tmp_path: Path) -> None:
    text = " ".join(f"Step {n} adds {n} to the sum and says why." for n in range(6))
    values = [
        {"instruction": f"Count {n} things.", "output": f"{text[: 60 + 9 * n]} {n}."}
        for n in range(40)
    ]
    found = scored(values, tmp_path, *table_metrics())
    assert {r["status"] for r in found} == {"ok"}
    for name in table_metrics():
        assert all(isinstance(r[name], float) for r in found), name


@pytest.mark.parametrize("name", ["lalp", "aslec_drop", "casl", "lark", "upd"])
def test_a_metric_that_needs_more_than_one_view_is_never_silently_null(
    tmp_path: Path, name: str
) -> None:
    values = [
        {
            "instruction": f"Say {n}.",
            "output": f"First {n} is said. Then {n + 1}. Done with {n}. {'And more. ' * (n % 4)}",
        }
        for n in range(40)
    ]
    assert all(r[name] is not None for r in scored(values, tmp_path, name))


def test_a_step_that_cannot_be_read_leaves_its_candidate_unscored(tmp_path: Path) -> None:
    class Fails(TableStudent):
        def read_pairs(self, pairs, **_):  # type: ignore[no-untyped-def]
            return (Unscored(candidate_id=p.pair_id, reason="too_long") for p in pairs)

    found = list(
        score_rows(read(rows(2)), scorer=here(Fails(), ("lalp",)), metrics=("lalp",)),
    )
    assert {r["status"] for r in found} == {"too_long"}
    assert all(r["lalp"] is None for r in found)


def test_candidates_that_failed_keep_their_reason(tmp_path: Path) -> None:
    found = scored([{"instruction": "Say it.", "output": " "}], tmp_path)
    assert found[0]["status"] == "empty_response"
    assert pa.float64() == pq.read_schema(tmp_path / "s.parquet").field("ifd").type
