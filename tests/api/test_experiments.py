"""Training and experiments through the API, on fakes or with a tiny student."""

from pathlib import Path
from typing import Any

import pytest

import tutelage as tt
from tests.experiments.frontier.test_run import half_a_student, problems
from tests.experiments.rank.test_run import pool
from tests.experiments.rounds.rounds_fakes import round_doors, rounds_settings
from tests.experiments.rounds.student_fakes import moving_doors
from tests.pipeline.fakes import doors, rows
from tests.tiny_student import save_student
from tutelage.errors import SettingsError

pytest.importorskip("altair")


def test_teachers_are_ranked_from_rows_in_memory_and_students_compared() -> None:
    by_name = {"doors": moving_doors(), "right_field": "ok", "predictors": "rsr,ifd"}
    one = tt.rank_teachers(pool(), "one", **by_name)
    other = tt.rank_teachers(iter(pool()), "two", **by_name)
    assert set(one["entrant"].to_pylist()) == {"tall", "small"}
    assert {"standings", "pairs", "settling", "answers"} == set(one.tables)
    assert one.in_words == tuple(one.summary["in_words"])
    assert one.report is not None
    agreed = tt.agreement([one, other.out])
    assert set(agreed["predictor"].to_pylist()) >= {"rsr", "ifd"}
    with pytest.raises(SettingsError, match="at least two rankings"):
        tt.agreement([one])


def test_teachers_are_asked_before_they_are_ranked(tmp_path: Path) -> None:
    given = [{"instruction": f"Say {n} in words."} for n in range(12)]
    found = tt.rank_teachers(
        given,
        "table",
        ask=[{"model": "one"}, {"model": "two"}],
        budget=12,
        block=6,
        out=tmp_path / "ranked",
        doors=doors(lambda request: f"An answer {request.key[:4]}."),
    )
    assert found.summary["asked"] == {"one": 12, "two": 12}
    assert found.out == tmp_path / "ranked"


def test_sources_are_ranked() -> None:
    found = tt.rank_sources(rows(24), "table", questions=12, doors=doors())
    assert set(found["entrant"].to_pylist()) == {"tools", "things"}


def test_the_drift_of_rows_runs_and_files(tmp_path: Path) -> None:
    longer = [{**row, "output": row["output"] + " And more of it."} for row in rows(8)]
    found = tt.drift(rows(8), longer, student="one", embedder="words", doors=moving_doors())
    assert set(found["name"].to_pylist()) == {"data-1", "data-2"}
    assert "nll_untrained" in found["measure"].to_pylist()
    loaded = tt.load(rows(8), out=tmp_path / "run")
    tt.score(loaded, "one", doors=moving_doors())
    chosen = tt.select(loaded, "ifd_top", keep_fraction=0.5)
    alone = tt.drift(chosen)
    assert set(alone["name"].to_pylist()) == {"run originals", "run chosen"}
    with pytest.raises(SettingsError, match="at least two sets"):
        tt.drift(rows(8))


def test_the_frontier_of_a_student(tmp_path: Path) -> None:
    found = tt.frontier(
        problems(tmp_path / "problems.jsonl"),
        "table",
        asked_through={"model": "half", "base_url": "http://127.0.0.1:9/v1"},
        sampled=6,
        check="number",
        doors=moving_doors(half_a_student),
    )
    assert len(found) == 12
    assert found.kept.num_rows + found.dropped.num_rows == 12
    assert found.tables["attempts"].num_rows == 84


def test_rounds_from_a_mapping(tmp_path: Path) -> None:
    given = rounds_settings(tmp_path, count=8).model_dump(exclude_unset=True)
    del given["out"]
    found = tt.rounds({**given, "data": {"path": rows(8)}}, overrides={"rounds": 1},
                      doors=round_doors())  # fmt: skip
    assert len(found) == len(found.summary["rounds"]) > 0
    assert "loops" in found.tables


def test_a_student_is_trained_evaluated_and_left_out_rows_are_named(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    student = save_student(tmp_path / "student")
    given = [{"instruction": "Name a colour.", "output": "red"}, {"instruction": "x", "output": ""}]
    trained = tt.train(given, student, dtype="float32", learning_rate=0.01)
    assert trained["rows"].to_pylist() == [1]
    assert trained.summary["left_out"] == {"empty_response": 1}
    assert trained.tables["left_out"].num_rows == 1
    assert (trained.model / "config.json").is_file()
    found = tt.evaluate(trained, {"held_out": given[:1]}, dtype="float32")
    assert found.reasons == {"ok": 1}
    assert found.summary["tasks"]["held_out"]["mean_value"] < 0


@pytest.mark.parametrize("tasks", [[], {"choice": None}, {"nonsense": [{"a": 1}]}])
def test_tasks_that_are_none_are_refused_before_a_model_is_loaded(tasks: Any) -> None:
    with pytest.raises(SettingsError):
        tt.evaluate("no-such-model", tasks)


def test_an_experiment_that_is_wrong_names_every_problem() -> None:
    with pytest.raises(SettingsError, match="students") as caught:
        tt.prove({"arms": 3})
    assert "arms" in str(caught.value)


def test_the_viewer_prints_its_link_and_serves(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    uvicorn = pytest.importorskip("uvicorn")
    pytest.importorskip("starlette")
    served: list[Any] = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda _, sockets: served.append(sockets))
    loaded = tt.load(rows(4))
    tt.score(loaded, "table", doors=doors())
    run = tt.select(loaded, "all_original").run
    tt.view(run, row=1, browser=False, doors=doors())
    assert capsys.readouterr().out.startswith("http://127.0.0.1:")
    assert len(served) == 1
    with pytest.raises(SettingsError, match="compares at most two"):
        tt.view(run, selections=("main", "a", "b"))
