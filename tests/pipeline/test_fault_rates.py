"""One table of what was found faulty, by teacher, step and kind."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipeline.fakes import doors, rows, settings, write_rows
from tutelage.pipeline import RunFolder, report_text, run_all, verify_run
from tutelage.pipeline.jobs import load_data
from tutelage.pipeline.report_sections import FaultRate, fault_rates
from tutelage.progress import Silent

ANSWERS = {"sound": "The answer is {two}.", "off": "The answer is {three}.", "mute": "Who knows?"}


def pool(folder: Path) -> RunFolder:
    values = [
        {
            "instruction": f"What is {n} and {n}?",
            "reference": str(2 * n),
            "model": model,
            "response": text.format(two=2 * n, three=2 * n + 3),
        }
        for n in range(1, 5)
        for model, text in ANSWERS.items()
    ]
    data = write_rows(folder / "pool.jsonl", values)
    load_data(data={"path": str(data)}, out=folder / "run", progress=Silent())
    return RunFolder(root=folder / "run")


def told(rates: list[FaultRate]) -> dict[tuple[str | None, str, str], tuple[int, int, int]]:
    return {(r.teacher, r.stage, r.fault): (r.count, r.candidates, r.faulty) for r in rates}


def test_each_teacher_and_kind_of_fault_has_its_rate(tmp_path: Path) -> None:
    run = pool(tmp_path)
    assert fault_rates(run) == []
    verify_run(run.root, check={"check": "number"}, progress=Silent())
    table = pq.read_table(run.candidates).to_pylist()
    dropped = [row["teacher"] != "sound" and "What is 1" in row["messages"][0]["content"]
               for row in table]  # fmt: skip
    ids = [row["candidate_id"] for row in table]
    filters = {
        "candidate_id": ids,
        "kept": [not d for d in dropped],
        "reason": ["too_short" if d else "" for d in dropped],
    }
    pq.write_table(pa.table(filters), run.filters)
    assert told(fault_rates(run)) == {
        ("mute", "check number", "no_answer"): (4, 4, 4),
        ("mute", "filter", "too_short"): (1, 4, 4),
        ("off", "check number", "wrong"): (4, 4, 4),
        ("off", "filter", "too_short"): (1, 4, 4),
    }
    text = report_text(run.root)
    assert "Faults by teacher, step and kind" in text
    assert "check number" in text
    assert "too_short" in text
    assert "there is no answer to check  no_answer" in text
    assert "25" in text  # one of four, as a percentage


def test_replies_that_could_not_be_used_and_scores_are_counted(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", rows(5))
    made = settings(data, tmp_path / "run", select={"max_unscored_fraction": 1.0})
    run_all(made, progress=Silent(), doors=doors(lambda _: "no JSON at all"), with_page=False)
    run = RunFolder(root=tmp_path / "run")
    found = fault_rates(run)
    assert {rate.teacher for rate in found} == {"scripted"}
    assert {rate.stage for rate in found} == {"writing"}
    assert sum(rate.count for rate in found) == sum(
        row["status"] != "ok" for row in pq.read_table(run.candidates).to_pylist()
    )
    assert all(rate.fraction == pytest.approx(rate.count / rate.candidates) for rate in found)
    scores = pq.read_table(run.scores)
    first = scores.slice(0, 1).to_pylist()[0] | {"status": "too_long"}
    rest = scores.slice(1).to_pylist()
    pq.write_table(pa.Table.from_pylist([first, *rest], schema=scores.schema), run.scores)
    again = told(fault_rates(run))
    assert again[None, "scoring", "too_long"][0] == 1
