"""Numbers from what is stored, without a model."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tutelage.data import read
from tutelage.errors import DataError
from tutelage.metrics import table_metrics
from tutelage.pipeline.recompute_metrics import delta_losses, metric_agreement, recompute
from tutelage.pipeline.score_stage import score_file
from tutelage.progress import Silent
from tutelage.student import TableStudent


def texts(count: int) -> list[dict[str, Any]]:
    text = " ".join(f"Step {n} adds {n} to the sum and says why." for n in range(6))
    return [
        {"instruction": f"Count {n} things.", "output": f"{text[: 60 + 9 * n]} {n}."}
        for n in range(count)
    ]


def score(
    values: list[Any], folder: Path, *metrics: str, name: str = "s", student: Any = None
) -> Path:
    out = folder / f"{name}.parquet"
    score_file(
        read(values),
        student=student or TableStudent(name=name),
        metrics=metrics,
        out=out,
        statistics=folder / f"{name}.stats.parquet",
    )
    return out


def test_every_metric_comes_back_from_the_stored_statistics(tmp_path: Path) -> None:
    values = [*texts(40), ["no object"], {"instruction": "Say it.", "output": " "}]
    before = pq.read_table(score(values, tmp_path, *table_metrics())).to_pylist()
    tally = recompute(
        tmp_path / "s.stats.parquet",
        metrics=table_metrics(),
        out=tmp_path / "again.parquet",
        progress=Silent(),
    )
    after = pq.read_table(tmp_path / "again.parquet").to_pylist()
    assert tally["rows"] == len(values)
    assert len(before) == len(after)
    for was, now in zip(before, after, strict=True):
        for name in was:
            if was[name] is not None and name in {
                "brier",
                "upd",
                "high_entropy_sum",
                "lark",
                "lark_weight",
            }:
                assert now[name] == pytest.approx(was[name], rel=2e-3, abs=2e-3), name
            else:
                assert now[name] == was[name], name


def test_another_metric_can_be_had_later(tmp_path: Path) -> None:
    score(texts(4), tmp_path, "ifd")
    recompute(
        tmp_path / "s.stats.parquet",
        metrics=["mean_rank"],
        out=tmp_path / "more.parquet",
        progress=Silent(),
    )
    expected = pq.read_table(
        score(texts(4), tmp_path, "mean_rank", name="direct", student=TableStudent(name="s"))
    )
    found = pq.read_table(tmp_path / "more.parquet")
    assert found["mean_rank"].equals(expected["mean_rank"])


def test_what_was_not_read_is_refused_by_name(tmp_path: Path) -> None:
    score(texts(2), tmp_path, "ifd")
    for metric, missing in (("r_ifd", "instruction"), ("lalp", "readings of its steps")):
        with pytest.raises(DataError, match=missing):
            recompute(
                tmp_path / "s.stats.parquet",
                metrics=[metric],
                out=tmp_path / "more.parquet",
                progress=Silent(),
            )


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    out = score(texts(2), tmp_path, "ifd")
    with pytest.raises(DataError, match="no token statistics"):
        recompute(out, metrics=["ifd"], out=tmp_path / "more.parquet", progress=Silent())


def test_a_row_without_finite_metrics_keeps_its_tokens(tmp_path: Path) -> None:
    def mean_nats(_: Any, view: str) -> float:
        return 0.0 if view == "response" else 1.0

    silent = TableStudent(mean_nats=mean_nats, name="s")  # ifd_loss divides by 0
    out = score(texts(1), tmp_path, "ifd_loss", student=silent)
    assert pq.read_table(out)["status"].to_pylist() == ["nonfinite"]
    recompute(
        tmp_path / "s.stats.parquet",
        metrics=["ppl"],
        out=tmp_path / "more.parquet",
        progress=Silent(),
    )
    assert pq.read_table(tmp_path / "more.parquet")["status"].to_pylist() == ["ok"]


def test_metrics_are_compared_with_each_other_and_with_length(tmp_path: Path) -> None:
    out = score(texts(30), tmp_path, "ifd", "grape", "mean_surprisal", "high_entropy_sum")
    found = metric_agreement(out)
    names = {frozenset((row["a"], row["b"])): row for row in found}
    assert names[frozenset(("grape", "mean_surprisal"))]["spearman"] == -1.0
    assert frozenset(("ifd", "response_tokens")) in names
    assert all(row["low"] <= row["spearman"] <= row["high"] for row in found)
    assert [abs(row["spearman"]) for row in found] == sorted(
        (abs(row["spearman"]) for row in found), reverse=True
    )


def test_students_of_one_table_are_kept_apart(tmp_path: Path) -> None:
    both = pa.concat_tables(
        pq.read_table(score(texts(9), tmp_path, "ifd", "ppl", name=name)) for name in ("a", "b")
    )
    pq.write_table(both, tmp_path / "both.parquet")
    found = metric_agreement(tmp_path / "both.parquet", metrics=["ifd", "ppl"])
    assert {row["n"] for row in found} == {9}
    assert len({row["student"] for row in found}) == 2


def at(nats: float, name: str) -> TableStudent:
    return TableStudent(mean_nats=lambda *_: nats, name=name)


def test_delta_loss_is_what_training_took_from_the_loss(tmp_path: Path) -> None:
    values = [*texts(6), {"instruction": "Say it.", "output": " "}]
    base = score(values, tmp_path, "ppl", name="base", student=at(2.0, "base"))
    current = score(values[1:], tmp_path, "ppl", name="current", student=at(1.5, "current"))
    found = delta_losses(base, current, out=tmp_path / "d.parquet")
    assert found["by_status"] == {"empty_response": 1, "not_in_both": 1, "ok": 5}
    assert found["mean_delta_loss"] == pytest.approx(0.5)
    assert found["interval_95"] == pytest.approx([0.5, 0.5])
    assert found["share_likelier"] == 1.0
    table = pq.read_table(tmp_path / "d.parquet").to_pylist()
    assert [row["delta_loss"] is None for row in table] == [row["status"] != "ok" for row in table]
    other = delta_losses(current, base, out=None)
    assert other["mean_delta_loss"] == pytest.approx(-0.5)
    alone = score(texts(1), tmp_path, "ppl", name="alone", student=at(1.5, "alone"))
    assert delta_losses(alone, base, out=None)["interval_95"] is None


def test_students_that_count_other_tokens_are_not_compared(tmp_path: Path) -> None:
    base = score(texts(3), tmp_path, "ppl", name="base")
    table = pq.read_table(score(texts(3), tmp_path, "ppl", name="current"))
    at_column = table.column_names.index("response_tokens")
    more = pa.array([n + 1 for n in table["response_tokens"].to_pylist()], pa.int32())
    pq.write_table(table.set_column(at_column, "response_tokens", more), tmp_path / "o.parquet")
    with pytest.raises(DataError, match="no scored candidate in common"):
        delta_losses(base, tmp_path / "o.parquet", out=None)


def test_a_table_of_two_students_is_not_a_base(tmp_path: Path) -> None:
    one, two = (score(texts(2), tmp_path, "ppl", name=name) for name in ("a", "b"))
    pq.write_table(pa.concat_tables(map(pq.read_table, (one, two))), tmp_path / "both.parquet")
    with pytest.raises(DataError, match="scores of 2 students"):
        delta_losses(tmp_path / "both.parquet", one, out=None)


def test_each_source_has_its_loss_before_and_after(tmp_path: Path) -> None:
    values = [{**row, "source": "odd" if n % 2 else "even"} for n, row in enumerate(texts(5))]
    values.append({"instruction": "Say it.", "output": " ", "source": "blank"})
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in values))
    base = score(values, tmp_path, "ppl", name="base", student=at(2.0, "base"))
    current = score(values, tmp_path, "ppl", name="current", student=at(1.5, "current"))
    found = delta_losses(base, current, out=tmp_path / "d.parquet", by="source", data=data)
    even, odd, blank = found["by_source"]
    assert (even["source"], even["candidates"], even["examples"]) == ("even", 3, 3)
    assert (odd["source"], odd["candidates"]) == ("odd", 2)
    assert (even["nll_base"], even["nll_current"]) == pytest.approx((2.0, 1.5))
    assert even["mean_delta_loss"] == pytest.approx(0.5)
    assert blank["by_status"] == {"empty_response": 1}
    assert blank["nll_base"] is None
    assert "mean_delta_loss" not in blank  # nothing was measured: no number
    table = pq.read_table(tmp_path / "d.parquet")
    assert table["source"].to_pylist() == [row["source"] for row in values]
    with pytest.raises(DataError, match="--by source") as caught:
        delta_losses(base, current, out=None, by="source")
    assert "--data" in str(caught.value.hint)
    steps = delta_losses(base, current, out=None, by="step", data=data)["by_step"]
    assert [(row["step"], row["candidates"]) for row in steps] == [("original", 6)]
