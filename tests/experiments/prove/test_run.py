"""Experiments with a student of two layers: sets, cells, kills, comparisons, sentences."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.pipeline.fakes import doors, rows, scored_as, settings, write_rows
from tests.tiny_student import save_student
from tutelage.errors import DataError, RunError, SettingsError
from tutelage.experiments.prove import run as proving_module
from tutelage.experiments.prove.compare import compare_all
from tutelage.experiments.prove.config import ProveSettings, load_prove_settings
from tutelage.experiments.prove.page import sentence
from tutelage.experiments.prove.plan import plan_experiment
from tutelage.experiments.prove.run import is_done, prove, read_results, run_experiment
from tutelage.pipeline import jobs, run_all
from tutelage.pipeline.config import checked
from tutelage.progress import Silent
from tutelage.student import StudentSettings

pytest.importorskip("trl")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prove")
    save_student(folder / "student")
    data = write_rows(folder / "data.jsonl", rows(24))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "write_report", lambda root, **_: root)  # pictures take seconds
        run_all(settings(data, folder / "run"), progress=Silent(), doors=doors())
    scored_as(folder / "run", StudentSettings(model=str(folder / "student")))
    choices = [
        {"id": n, "question": f"Tool {n}?", "choices": ["cuts", "joins"], "answer_index": n % 2}
        for n in range(6)
    ]
    write_rows(folder / "choice.jsonl", choices)
    return folder


def values(place: Path, out: Path, **more: Any) -> dict[str, Any]:
    return {
        "out": str(out),
        "students": [{"name": "tiny", "model": str(place / "student"), "run": str(place / "run")}],
        "arms": [
            {"name": "choice", "select": {"rule": "srt"}},
            {"name": "random", "select": {"rule": "random"}},
            {"name": "original", "select": {"rule": "all_original"}},
        ],
        "seeds": [0, 1],
        "examples": 6,
        "held_out": 6,
        "tasks": [{"name": "tools", "kind": "choice", "path": str(place / "choice.jsonl")}],
        "train": {"learning_rate": 1e-2, "dtype": "float32", "batch_examples": 4},
        "evaluate": {"dtype": "float32"},
        **more,
    }


def experiment(place: Path, out: Path, **more: Any) -> ProveSettings:
    return checked(ProveSettings, values(place, out, **more), place="test")


def questions(cell: Any) -> list[str]:
    return sorted(row.question for row in cell.rows)


def test_arms_of_one_seed_train_on_the_same_questions(place: Path, tmp_path: Path) -> None:
    plan = plan_experiment(experiment(place, tmp_path), progress=Silent())
    cells = {(c.arm, c.seed): c for c in plan.cells if c.balance == "examples"}
    assert questions(cells["random", 0]) == questions(cells["original", 0])
    assert questions(cells["random", 0]) != questions(cells["random", 1])
    assert all(len(c.rows) == 6 for name, c in cells.items() if name[0] != "untrained")


def test_cells_stay_done_if_fewer_rows_are_computed_at_once(place: Path, tmp_path: Path) -> None:
    def keys(**more: Any) -> list[str]:
        train = {**values(place, tmp_path)["train"], **more}
        made = experiment(place, tmp_path, train=train)
        return [c.key for c in plan_experiment(made, progress=Silent()).cells]

    assert keys(microbatch_examples=1) == keys()
    assert keys(batch_examples=2) != keys()


def test_no_arm_trains_on_a_question_that_is_held_out(place: Path, tmp_path: Path) -> None:
    made = experiment(place, tmp_path, examples=10, balance=["examples"])
    plan = plan_experiment(made, progress=Silent())
    held = {
        " ".join(json.loads(line)["messages"][0]["content"].split())
        for line in (tmp_path / "tasks" / "held_out_original.jsonl").read_text().splitlines()
    }
    assert len(held) == 6
    rows_trained = [row for cell in plan.cells for row in cell.rows]
    trained = {" ".join(row.candidate.context[-1].content.split()) for row in rows_trained}
    assert not held & trained
    # Nor on another version of it, whatever its instruction has become.
    by_question = pq.read_table(place / "run" / "examples.parquet").to_pylist()
    ids = {e["example_id"] for e in by_question if e["messages"][0]["content"] in held}
    assert len(ids) == 6
    assert not ids & {row.candidate.example_id for row in rows_trained}


def test_equal_tokens_means_within_the_budget_of_the_reference(place: Path, tmp_path: Path) -> None:
    plan = plan_experiment(experiment(place, tmp_path), progress=Silent())
    tokens = {(c.arm, c.seed): c.tokens for c in plan.cells if c.balance == "tokens"}
    for seed in (0, 1):
        budget = tokens["random", seed]
        assert budget * 0.8 <= tokens["original", seed] <= budget
        assert tokens["choice", seed] <= budget
    shared = {c.key for c in plan.cells if c.arm == "random" and c.balance == "tokens"}
    assert shared == {c.key for c in plan.cells if c.arm == "random" and c.balance == "examples"}


def test_an_arm_that_cannot_come_near_the_budget_is_refused(place: Path, tmp_path: Path) -> None:
    few = [
        {"messages": [{"role": "user", "content": f"What is {n}?"},
                      {"role": "assistant", "content": "It."}]}
        for n in range(8)
    ]  # fmt: skip
    arms = [
        {"name": "choice", "file": str(write_rows(tmp_path / "short.jsonl", few))},
        {"name": "random", "select": {"rule": "random"}},
    ]
    made = experiment(place, tmp_path / "out", arms=arms, balance=["tokens"])
    with pytest.raises(DataError, match=r"tiny, arm choice: \d+ trained tokens are available"):
        plan_experiment(made, progress=Silent())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"primary": "tolls"}, "primary: there is no task 'tolls'"),
        ({"train": {"seed": 9}}, "train: seed has no effect here; set seeds"),
        ({"train": {"template": "alpaca"}}, "train: template has no effect here"),
        ({"evaluate": {"template": "alpaca"}}, "evaluate: template has no effect here"),
        ({"seeds": [-1, 1]}, "seeds"),
    ],
)
def test_what_would_be_given_in_vain_is_refused(
    place: Path, tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        experiment(place, tmp_path, **more)


def test_a_students_training_that_is_wrong_is_named(place: Path, tmp_path: Path) -> None:
    student = values(place, tmp_path)["students"][0]
    for train, said in (({"learning_rat": 1}, "learning_rat"), ({"seed": 1}, "seed has no effect")):
        with pytest.raises(SettingsError, match=f"students, tiny, train.*{said}"):
            experiment(place, tmp_path, students=[{**student, "train": train}])


def test_the_quick_look_keeps_who_chooses(place: Path, tmp_path: Path) -> None:
    student = values(place, tmp_path)["students"][0]
    arms = [
        {"name": "choice", "select": {"rule": "srt"}, "chooser": "other"},
        {"name": "random", "select": {"rule": "random"}},
    ]
    students = [student, {**student, "name": "third"}, {**student, "name": "other"}]
    quick = experiment(place, tmp_path, arms=arms, students=students).quick()
    assert [s.name for s in quick.students] == ["tiny", "other"]
    plan_experiment(quick, progress=Silent())


def test_each_student_chooses_by_its_own_scores_in_a_run_that_both_have_scored(
    place: Path, tmp_path: Path
) -> None:
    shutil.copytree(place / "run", tmp_path / "run")
    save_student(tmp_path / "second", seed=1)
    models = {"tiny": place / "student", "second": tmp_path / "second"}
    scored_as(
        tmp_path / "run", *(StudentSettings(model=str(m)) for m in models.values()), other="ifd"
    )
    made = experiment(
        place,
        tmp_path / "out",
        students=[
            {"name": name, "model": str(model), "run": str(tmp_path / "run")}
            for name, model in models.items()
        ],
        arms=[
            {"name": "choice", "select": {"rule": "ifd_top", "keep_fraction": 0.5}},
            {
                "name": "of_second",
                "select": {"rule": "ifd_top", "keep_fraction": 0.5},
                "chooser": "second",
            },
            {"name": "random", "select": {"rule": "random"}},
        ],
        examples=4,
        held_out=0,
    )
    cells = plan_experiment(made, progress=Silent()).cells
    rows_of = {
        (c.student, c.arm): [row.candidate.candidate_id for row in c.rows]
        for c in cells
        if c.balance == "examples" and c.seed == 0
    }
    assert rows_of["tiny", "choice"] != rows_of["second", "choice"]
    assert rows_of["tiny", "of_second"] == rows_of["second", "choice"]


def test_a_student_that_has_not_scored_its_run_is_an_error(place: Path, tmp_path: Path) -> None:
    save_student(tmp_path / "second", seed=1)
    student = {"name": "x", "model": str(tmp_path / "second"), "run": str(place / "run")}
    with pytest.raises(RunError, match=r"x .* has not scored it"):
        plan_experiment(experiment(place, tmp_path, students=[student]), progress=Silent())


@pytest.mark.parametrize("balance", ["examples", "tokens"])
def test_too_small_a_set_is_named(place: Path, tmp_path: Path, balance: str) -> None:
    with pytest.raises(
        DataError, match=r"tiny, arm .*: the set has \d+ rows, but 100 are requested"
    ):
        plan_experiment(
            experiment(place, tmp_path, examples=100, balance=[balance]), progress=Silent()
        )


def test_settings_that_cannot_work_are_refused_together(place: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no arm 'nobody'"):
        experiment(place, tmp_path, reference="nobody")
    with pytest.raises(SettingsError, match="either `select`, `selection` or `file`") as two:
        experiment(place, tmp_path, arms=[{"name": "choice"}, {"name": "random"}])
    assert "at least 2" not in str(two.value), "there are two arms, both wrong"
    with pytest.raises(SettingsError, match=r"arms: .*at least 2"):
        experiment(place, tmp_path, arms=[])
    with pytest.raises(SettingsError, match="nothing is measured"):
        experiment(place, tmp_path, held_out=0, tasks=[])


def test_paths_are_those_of_the_file_they_stand_in(place: Path, tmp_path: Path) -> None:
    given = values(place, tmp_path, lock="turn.lock") | {"out": "results"}
    (tmp_path / "trained").mkdir()
    given["students"] = [
        {**given["students"][0], "name": model, "model": model} for model in ("trained", "smollm2")
    ]
    config = tmp_path / "experiment.yaml"
    config.write_text(yaml.safe_dump(given))
    loaded = load_prove_settings(config)
    assert loaded.out == tmp_path / "results"
    assert loaded.lock == tmp_path / "turn.lock"
    assert [s.model for s in loaded.students] == [str(tmp_path / "trained"), "smollm2"]


def test_an_experiment_that_was_stopped_does_only_what_is_left(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = experiment(place, tmp_path, balance=["examples"], seeds=[0])
    first = run_experiment(made, progress=Silent(), most_cells=2)
    assert (first["cells"], first["done"]) == (4, 2)
    trained: list[str] = []
    original = proving_module._run_cell

    def noted(cell: Any, *rest: Any) -> None:
        trained.append(cell.arm)
        original(cell, *rest)

    monkeypatch.setattr(proving_module, "_run_cell", noted)
    assert run_experiment(made, progress=Silent())["done"] == 4
    assert trained == ["random", "original"]
    assert not list(tmp_path.glob("cells/*/trained/model"))


class Elsewhere:
    """Workers that get nothing but what can be sent to them."""

    def __init__(self) -> None:
        self.cells: list[Any] = []

    def each(self, work: Any, items: Any) -> Any:
        for item in items:
            sent, cell = pickle.loads(pickle.dumps((work, item)))  # noqa: S301  (our own)
            sent(cell)
            self.cells.append(cell)
            yield item


def test_cells_that_others_work_on_have_the_results_of_this_process(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"balance": ["examples"], "seeds": [0]}
    here = experiment(place, tmp_path / "here", **more)
    monkeypatch.chdir(tmp_path)
    away = experiment(place, Path("away"), **more)  # workers stand elsewhere
    others = Elsewhere()
    run_experiment(here, progress=Silent(), most_cells=2)
    done = run_experiment(away, progress=Silent(), most_cells=2, elsewhere=others)
    assert done["done"] == len(others.cells) == 2
    assert read_results(here.out).equals(read_results(away.out))


def test_a_launcher_cannot_start_an_experiment(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingsError, match="2 processes were launched"):
        run_experiment(experiment(place, tmp_path), progress=Silent())


def test_a_lock_is_for_one_process(place: Path, tmp_path: Path) -> None:
    made = experiment(place, tmp_path, lock=str(tmp_path / "lock"))
    with pytest.raises(SettingsError, match="one process"):
        run_experiment(made, progress=Silent(), elsewhere=Elsewhere())


def test_a_cell_without_its_results_is_not_done(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"state": "done"}')
    assert not is_done(tmp_path)
    (tmp_path / "manifest.json").write_text('{"state"')
    assert not is_done(tmp_path)


def test_the_report_leads_with_choice_less_random(place: Path, tmp_path: Path) -> None:
    config = tmp_path / "experiment.yaml"
    made = values(place, tmp_path / "out")
    config.write_text(yaml.safe_dump({**made, "arms": made["arms"][:2]}))
    found = prove(config, out=None, quick=False, most_cells=None, progress=Silent())
    assert found["done"] == found["cells"]
    assert found["in_words"][0].startswith("Training tiny on choice instead of random, with")
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.index("Training tiny on choice") < page.index("<table>")
    assert "Training tiny on choice" in (tmp_path / "out" / "report.md").read_text()
    cells = json.loads((tmp_path / "out" / "manifest.json").read_text())["cells"]
    files = {
        (c["arm"], c["seed"], c["balance"]): tmp_path / "out" / "cells" / c["key"] / "rows.jsonl"
        for c in cells
        if c["rows"]
    }
    trained = {place: set(file.read_text().splitlines()) for place, file in files.items()}
    for cell in (c for c in cells if c["rows"]):
        own = trained[cell["arm"], cell["seed"], cell["balance"]]
        for arm in ("choice", "random"):
            beside = trained[arm, cell["seed"], cell["balance"]]
            assert cell["in_common"][arm] == len(own & beside)
    assert any(0 < c["in_common"]["random"] < c["rows"] for c in cells)
    assert "also in random" in page
    results = read_results(tmp_path / "out")
    per_cell = 6 + 6 + 6  # held-out originals and refinements, choices
    assert results.num_rows == per_cell * 2 * (1 + 2 * 2)


def test_a_quick_look_says_whether_more_is_worth_it(place: Path, tmp_path: Path) -> None:
    config = tmp_path / "experiment.yaml"
    config.write_text(yaml.safe_dump(values(place, tmp_path / "out", seeds=[0, 1, 2])))
    found = prove(config, out=None, quick=True, most_cells=None, progress=Silent())
    assert found["cells"] == 1 + 2 * 2
    assert any("the full experiment" in text for text in found["in_words"])


def table(shift: float, *, arms: tuple[str, ...] = ("choice", "random")) -> pa.Table:
    """Results of three seeds and forty items in which the choice is better by `shift`."""
    drawing = np.random.default_rng(5)
    found = []
    for seed in (0, 1, 2):
        for item in range(40):
            noise = drawing.normal(0, 0.1, size=len(arms))
            for arm, more in zip(arms, noise, strict=True):
                value = -2.0 + item / 40 + more + (shift if arm == "choice" else 0)
                found.append(
                    {
                        "student": "tiny",
                        "arm": arm,
                        "train_seed": seed,
                        "balance": "examples",
                        "cell": f"{arm} {seed}",
                        "task": "held_out_original",
                        "item_id": str(item),
                        "value": value,
                        "correct": None,
                    }
                )
    schema = pa.schema(
        [(n, pa.int64() if n == "train_seed" else pa.string()) for n in list(found[0])[:7]]
        + [("value", pa.float64()), ("correct", pa.bool_())]
    )
    return pa.Table.from_pylist(found, schema=schema)


def test_a_difference_is_found_and_its_absence_is_said_plainly(place: Path, tmp_path: Path) -> None:
    made = experiment(place, tmp_path, seeds=[0, 1, 2], balance=["examples"])
    (better,) = compare_all(table(0.5), made)
    assert sentence(better, made).count("choice was better") == 1
    assert abs(better.interval.mean - 0.5) < 0.1
    (nothing,) = compare_all(table(0.0), made)
    assert "no significant difference" in sentence(nothing, made)
    (worse,) = compare_all(table(-0.5), made)
    assert "choice was worse" in sentence(worse, made)


def test_an_item_without_a_value_anywhere_is_left_out_and_counted(
    place: Path, tmp_path: Path
) -> None:
    made = experiment(place, tmp_path, seeds=[0, 1, 2], balance=["examples"])
    results = table(0.5).to_pylist()
    results[0]["value"] = None
    (found,) = compare_all(pa.Table.from_pylist(results, schema=table(0.5).schema), made)
    assert (found.interval.items, found.items_left_out) == (39, 1)


def test_a_seed_that_only_one_arm_has_finished_does_not_count(place: Path, tmp_path: Path) -> None:
    made = experiment(place, tmp_path, seeds=[0, 1, 2], balance=["examples"])
    results = [
        r for r in table(0.5).to_pylist() if not (r["arm"] == "random" and r["train_seed"] == 2)
    ]
    (found,) = compare_all(pa.Table.from_pylist(results, schema=table(0.5).schema), made)
    assert found.interval.seeds == 2


def test_a_seed_in_which_one_arm_came_to_nothing_is_counted(place: Path, tmp_path: Path) -> None:
    made = experiment(place, tmp_path, seeds=[0, 1, 2], balance=["examples"])
    results = table(0.5).to_pylist()
    for row in results:
        if (row["arm"], row["train_seed"]) == ("choice", 2):
            row["value"] = None
    (found,) = compare_all(pa.Table.from_pylist(results, schema=table(0.5).schema), made)
    assert (found.interval.seeds, found.seeds_left_out) == (2, 1)
    assert "Left out: 1 seed in which a training run gave no value" in sentence(found, made)
    assert found.row()["seeds_left_out"] == 1


def test_such_a_seed_counts_for_right_answers_too(place: Path, tmp_path: Path) -> None:
    made = experiment(place, tmp_path, seeds=[0, 1, 2], balance=["examples"])
    results = table(0.5).to_pylist()
    for row in results:
        lost = (row["arm"], row["train_seed"]) == ("choice", 2)
        row["correct"] = None if lost else row["value"] > -1.5
        row["value"] = None if lost else row["value"]
    found = compare_all(pa.Table.from_pylist(results, schema=table(0.5).schema), made)
    assert {c.measure: c.seeds_left_out for c in found} == {"value": 1, "right": 1}


def test_two_trainings_with_equal_results_do_not_differ(place: Path, tmp_path: Path) -> None:
    made = experiment(place, tmp_path, seeds=[0, 1, 2], balance=["examples"])
    results = [{**row, "value": 0.0, "correct": False} for row in table(0.5).to_pylist()]
    (found,) = compare_all(pa.Table.from_pylist(results, schema=table(0.5).schema), made)
    assert found.interval.mean == 0.0
    assert "no significant difference. The values do not vary" in sentence(found, made)


def test_what_could_be_found_is_stated_with_the_correction(place: Path, tmp_path: Path) -> None:
    arms = [{"name": n, "select": {"rule": "random"}} for n in ("choice", "random", "other")]
    made = experiment(place, tmp_path, seeds=[0, 1, 2], balance=["examples"], arms=arms)
    found = compare_all(table(0.5, arms=("choice", "random", "other")), made)
    assert {c.comparisons for c in found} == {3}
    assert all(c.detectable_corrected > c.interval.detectable > 0 for c in found)


def test_a_training_that_diverged_is_a_result_and_the_others_go_on(
    place: Path, tmp_path: Path
) -> None:
    student = values(place, tmp_path)["students"][0]
    wild = {**student, "name": "wild", "train": {"learning_rate": 1e30}}
    arms = values(place, tmp_path)["arms"][:2]
    more: dict[str, Any] = {"arms": arms, "balance": ["examples"], "seeds": [0]}
    made = values(place, tmp_path / "out", students=[wild, student], **more)
    (tmp_path / "prove.yaml").write_text(yaml.safe_dump(made))
    found = prove(
        tmp_path / "prove.yaml", out=None, quick=False, most_cells=None, progress=Silent()
    )
    assert found["done"] == found["cells"]
    assert found["diverged"] > 0
    assert "Training tiny on choice instead of random" in found["in_words"][0]
    assert (
        f"{found['diverged']} of {found['cells']} training runs diverged" in found["in_words"][-1]
    )
    results = read_results(tmp_path / "out").to_pylist()
    lost = [r for r in results if r["status"] == "diverged"]
    assert {(r["student"], r["value"]) for r in lost} == {("wild", None)}
    assert {r["task"] for r in lost} == {"tools", "held_out_original", "held_out_refined"}


def test_one_seed_shows_nothing_however_narrow_its_interval(place: Path, tmp_path: Path) -> None:
    made = experiment(place, tmp_path, seeds=[0], balance=["examples"])
    (found,) = compare_all(table(5.0), made)
    assert found.interval.excludes_zero
    assert "no significant difference (with one seed" in sentence(found, made)


def test_two_names_of_the_same_trainings_are_compared_once(place: Path, tmp_path: Path) -> None:
    arms = [{"name": n, "select": {"rule": "random"}} for n in ("choice", "random", "copy")]
    made = experiment(place, tmp_path, seeds=[0, 1, 2], balance=["examples"], arms=arms)
    results = table(0.5).to_pylist()
    results += [r | {"arm": "copy"} for r in results if r["arm"] == "choice"]
    found = compare_all(pa.Table.from_pylist(results, schema=table(0.5).schema), made)
    assert [(c.arm, c.against) for c in found] == [("choice", "random")]


def test_the_effect_is_compared_between_students(place: Path, tmp_path: Path) -> None:
    run = str(place / "run")
    students = [{"name": n, "model": "m", "run": run} for n in ("tiny", "large")]
    made = experiment(place, tmp_path, seeds=[0, 1, 2], balance=["examples"], students=students)
    results = table(0.5).to_pylist() + [r | {"student": "large"} for r in table(0.0).to_pylist()]
    found = compare_all(pa.Table.from_pylist(results, schema=table(0.5).schema), made)
    (between,) = [c for c in found if c.student == "tiny - large"]
    assert abs(between.interval.mean - 0.5) < 0.1
    assert "between students (tiny minus large)" in sentence(between, made)
