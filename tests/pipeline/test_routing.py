"""Teachers of rows, routes of sources, and the weights of rows."""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests.pipeline.fakes import doors, rows, settings, write_rows
from tests.tiny_student import save_student
from tutelage.cli import main
from tutelage.errors import DataError, SettingsError
from tutelage.experiments.rank.run import rank_teachers
from tutelage.pipeline import RunFolder, export, run_all, score_run, select_again
from tutelage.pipeline.jobs import load_data
from tutelage.pipeline.teacher_routes import read_routes, routes_of
from tutelage.progress import Silent


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


MODELS = {
    "terse": "{n} twice.",
    "chatty": "Well, {n} and {n} it is.",
    "stiff": "One obtains the double of {n}, as was asked.",
}


def pool(folder: Path) -> Path:
    values = [
        {
            "instruction": f"What is {n} and {n}?",
            "source": "odd" if n % 2 else "even",
            "model": model,
            "response": text.format(n=n),
        }
        for n in range(1, 13)
        for model, text in MODELS.items()
    ]
    return write_rows(folder / "pool.jsonl", values)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("sampled")
    load_data(data={"path": str(pool(folder))}, out=folder / "run", progress=Silent())
    metrics = ["grape", "lark", "ifd", "r_ifd"]
    score_run(folder / "run", student={"model": "table"}, metrics=metrics, progress=Silent(),
              doors=doors())  # fmt: skip
    values = {"rule": "lark", "keep_per_example": 3}
    select_again(folder / "run", given=values, student=None, progress=Silent())
    return RunFolder(root=folder / "run")


def test_each_prompt_names_the_teacher_that_wrote_its_row(
    sampled: RunFolder, tmp_path: Path
) -> None:
    done = export(sampled, to="distillation", file=tmp_path / "prompts.jsonl")
    found = lines(tmp_path / "prompts.jsonl")
    assert done["rows"] == len(found) == sum(done["by_teacher"].values())
    assert set(done["by_teacher"]) == set(MODELS)
    for row in found:
        assert row["teacher_id"] == row["teacher"]
        assert row["prompt"][-1]["role"] == "user"
        assert "completion" not in row
    assert '"terse": "http://localhost' in done["snippet"]
    export(sampled, to="trl", file=tmp_path / "trl.jsonl")
    assert {row["teacher_id"] for row in lines(tmp_path / "trl.jsonl")} == set(MODELS)


def test_rows_go_to_the_teacher_of_their_source(sampled: RunFolder, tmp_path: Path) -> None:
    table = tmp_path / "routes.json"
    table.write_text(json.dumps({"default": "chatty", "routes": {"odd": "terse"}}))
    export(sampled, to="distillation", file=tmp_path / "prompts.jsonl", routes=table)
    for row in lines(tmp_path / "prompts.jsonl"):
        assert row["teacher_id"] == ("terse" if row["source"] == "odd" else "chatty")
    with pytest.raises(SettingsError, match="--to trl takes no routes"):
        export(sampled, to="trl", file=tmp_path / "trl.jsonl", routes=table)


def test_a_row_without_a_teacher_is_an_error_that_names_it(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", rows(4))
    made = settings(data, tmp_path / "run", select={"rule": "all_original"}, teacher=None)
    run_all(made, progress=Silent(), doors=doors(), with_page=False)
    run = RunFolder(root=tmp_path / "run")
    with pytest.raises(DataError, match="no teacher wrote this version") as caught:
        export(run, to="distillation", file=tmp_path / "prompts.jsonl")
    assert "--routes" in str(caught.value.hint)
    assert not (tmp_path / "prompts.jsonl").exists()


def test_a_ranking_writes_the_first_teacher_of_each_domain(tmp_path: Path) -> None:
    job = {
        "data": {"path": str(pool(tmp_path))},
        "student": {"model": "table"},
        "out": str(tmp_path / "ranked"),
        "predictors": ["likelihood"],
        "by": "likelihood",
        "report": False,
    }
    found = rank_teachers(job, doors=doors())
    told = json.loads((tmp_path / "ranked" / "routes.json").read_text())
    assert set(told["routes"]) == {"odd", "even"}
    first = {
        row["domain"]: row["entrant"]
        for row in found.standings.to_pylist()
        if row["predictor"] == "likelihood" and row["rank"] == 1
    }
    assert told["routes"] == {name: first[name] for name in ("odd", "even")}
    assert told["default"] == first["all"]
    routes = read_routes(tmp_path / "ranked")
    assert routes.teacher_of("odd") == first["odd"]
    assert routes.teacher_of("unheard of") == routes.teacher_of(None) == first["all"]


def test_routes_say_whether_the_first_is_surely_better() -> None:
    standings = pa.Table.from_pylist(
        [
            {"domain": d, "predictor": "rsr", "entrant": e, "value": v, "low": None, "high": None,
             "rank": r, "questions": 9}
            for d, e, v, r in (("sums", "a", 2.0, 1), ("sums", "b", 3.0, 2), ("all", "b", 1.0, 1),
                               ("all", "a", 2.0, 2), ("tales", "c", None, None))
        ]
    )  # fmt: skip
    pairs = pa.Table.from_pylist(
        [{"domain": "sums", "predictor": "rsr", "a": "a", "b": "b", "told_apart": True}]
    )
    found = routes_of(standings, pairs, by="rsr")
    assert [(r.domain, r.teacher, r.runner_up, r.told_apart) for r in found] == [
        ("all", "b", "a", False),
        ("sums", "a", "b", True),
    ]  # a domain where nobody has a number has no route


@pytest.mark.parametrize("text", ["[]", '{"routes": {"odd": 3}}', "{", '{"default": "a"}'])
def test_a_file_that_is_no_routing_table_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "routes.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"routes\.json"):
        read_routes(path)


def test_the_weights_of_lark_become_training_weights(sampled: RunFolder, tmp_path: Path) -> None:
    export(sampled, to="messages", file=tmp_path / "rows.jsonl")
    found = lines(tmp_path / "rows.jsonl")
    assert found
    assert all(row["train_weight"] == row["weight"] for row in found)
    assert all("train_weight" in row for row in lines(sampled.selected))
    export(sampled, to="messages", file=tmp_path / "off.jsonl", weights="off")
    assert not any("train_weight" in row for row in lines(tmp_path / "off.jsonl"))


def test_likelihoods_become_training_weights(sampled: RunFolder, tmp_path: Path) -> None:
    export(sampled, to="messages", file=tmp_path / "rows.jsonl", weights="likelihood")
    nats = {
        row["candidate_id"]: row["nll_response_given_instruction"]
        for row in pq.read_table(sampled.scores).to_pylist()
    }
    for row in lines(tmp_path / "rows.jsonl"):
        assert row["train_weight"] == pytest.approx(math.exp(-nats[row["candidate_id"]]))


def test_the_train_command_counts_rows_by_their_weights(sampled: RunFolder, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    student = save_student(tmp_path / "student")
    for weights in ("auto", "off"):
        out = tmp_path / weights
        words = ["train", str(sampled.root), "--student", str(student), "--out", str(out)]
        result = CliRunner().invoke(main, [*words, "--weights", weights, "--dtype", "float32"])
        assert result.exit_code == 0, result.stderr
        manifest = json.loads((out / "manifest.json").read_text())
        assert manifest["rows"]["weighted"] is (weights == "auto")
    file = write_rows(tmp_path / "rows.jsonl", rows(2))
    words = ["train", str(file), "--student", str(student), "--out", str(tmp_path / "x")]
    result = CliRunner().invoke(main, [*words, "--weights", "likelihood"])
    assert result.exit_code == 2
    assert "which has no scores" in result.stderr
