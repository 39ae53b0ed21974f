"""The numbers of `cheap` and `oracle`, read from a run folder."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.pipeline.fakes import doors
from tutelage.errors import DataError
from tutelage.pipeline import explain_example, run_all, select_again
from tutelage.pipeline.config import RunSettings, checked
from tutelage.pipeline.run_dir import RunFolder
from tutelage.progress import Silent

STRANGE = {
    "language": "Der Hund ist nicht im Garten, und die Katze ist auch nicht mit den Kindern da.",
    "length": "It is. " * 300,
    "similarity": "Prices of corn fell sharply on Monday after rain came to the plains at last.",
}
SUBJECTS = ("pear", "plum", "apple", "cherry", "melon", "fig", "lemon", "grape", "peach", "mango")


def rows() -> list[dict[str, Any]]:
    found = []
    for number in range(30):
        fruit = f"{SUBJECTS[number % 10]} tree number {number}"
        refined = f"The {fruit} is in the garden and it was planted by the owner of the house."
        fault = "none"
        if number < 3:
            fault, refined = list(STRANGE.items())[number]
        found.append(
            {
                "instruction": f"Where is the {fruit} and who planted it?",
                "original_output": f"The {fruit} is in the garden of the owner.",
                "refined_output": refined,
                "fault": fault,
                "is_right": fault == "none",
                "notes": {"by": "nobody"},
                **({"rare": "x"} if number else {}),
            }
        )
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("columns")
    data = folder / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    values = {
        "data": {"path": str(data)},
        "student": {"model": "table"},
        "out": str(folder / "run"),
        "select": {"rule": "all_refined", "max_unscored_fraction": 1.0},
    }
    run_all(
        checked(RunSettings, values, place="test"),
        progress=Silent(), doors=doors(), with_page=False,
    )  # fmt: skip
    return folder / "run"


def decided(root: Path, **given: Any) -> list[dict[str, Any]]:
    """Decisions in the order of the input, under a name of their own."""
    select_again(
        root,
        given={"max_unscored_fraction": 1.0, **given},
        student=None, progress=Silent(), afresh=True, name="tried",
    )  # fmt: skip
    run = RunFolder(root=root)
    order = {e["example_id"]: e["row"] for e in pq.read_table(run.examples).to_pylist()}
    found = pq.read_table(run.with_selection("tried").decisions).to_pylist()
    return sorted(found, key=lambda row: order[row["example_id"]])


def test_each_band_sees_its_own_kind_of_strange_refinement(root: Path) -> None:
    # Of all refinements three are refused by a verdict that the rule `of` knows nothing of: so
    # many as all_refined keeps are kept, and the order of the deviations is what is looked at.
    found = decided(root, rule="cheap", of="all_refined")
    worst = sorted(range(30), key=lambda at: -found[at]["deviation_refined"])[:3]
    assert sorted(worst) == [0, 1, 2]
    assert found[0]["deviation_refined"] > 100
    assert all(row["kept"] for row in found)


def test_an_embedder_takes_the_place_of_the_words(root: Path, monkeypatch: Any) -> None:
    from tutelage.filters.config import WordsEmbedder
    from tutelage.filters.embeddings import HashedWords
    from tutelage.pipeline import select_stage

    monkeypatch.setattr(
        select_stage, "make_embedder", lambda _: HashedWords(WordsEmbedder(dimensions=2048))
    )
    words = decided(root, rule="cheap", of="all_refined")
    embedder = {"kind": "model2vec", "model": "somewhere"}
    found = decided(root, rule="cheap", of="all_refined", embedder=embedder)
    assert found[2]["deviation_refined"] != words[2]["deviation_refined"]
    assert sorted(sorted(range(30), key=lambda at: -found[at]["deviation_refined"])[:3]) == [
        0,
        1,
        2,
    ]


@pytest.mark.parametrize(
    "given", [{"truth": "fault"}, {"truth": "is_right", "truth_clean": (True,)}]
)
def test_the_oracle_reads_a_column_of_the_data(root: Path, given: dict[str, Any]) -> None:
    found = decided(root, rule="oracle", **given)
    assert [row["step"] for row in found[:4]] == ["original"] * 3 + ["response_reflection"]
    assert [row["reason"] for row in found].count("truth_faulty") == 3
    said = explain_example(root, "row:1", selection="tried")
    assert "The truth column says that the rewrite is faulty" in " ".join(said.split())


def test_a_column_that_is_not_there_is_an_error_that_lists_those_there_are(root: Path) -> None:
    with pytest.raises(DataError, match="no row of the data has the column 'planted'") as caught:
        decided(root, rule="oracle", truth="planted")
    assert "fault" in str(caught.value.hint)


def test_a_run_says_so_before_the_student_reads(root: Path, tmp_path: Path) -> None:
    values = {
        "data": {"path": str(root.parent / "pairs.jsonl")},
        "student": {"model": "table"},
        "out": str(tmp_path / "run"),
        "select": {"rule": "oracle", "truth": "planted"},
    }
    wanted = checked(RunSettings, values, place="test")
    with pytest.raises(DataError, match="no row of the data has the column 'planted'"):
        run_all(wanted, progress=Silent(), doors=doors(), with_page=False)
    assert not (tmp_path / "run" / "scores.parquet").exists()


def test_a_row_without_a_value_is_an_error_unless_null_is_clean(root: Path) -> None:
    with pytest.raises(DataError, match=r"1 of 30 examples have no value .* input row 0") as caught:
        decided(root, rule="oracle", truth="rare")
    assert "add null to truth_clean" in str(caught.value.hint)
    found = decided(root, rule="oracle", truth="rare", truth_clean=(None,))
    assert [row["reason"] for row in found] == ["truth_clean"] + ["truth_faulty"] * 29


def test_a_column_of_objects_is_no_truth(root: Path) -> None:
    with pytest.raises(DataError, match="input row 0: the column 'notes' holds"):
        decided(root, rule="oracle", truth="notes")


def test_a_pool_of_answers_has_no_truth_of_each_answer(tmp_path: Path) -> None:
    data = tmp_path / "pool.jsonl"
    lines = [
        {"instruction": "2 + 2?", "model": f"m{n}", "response": f"It is {n}.", "fault": n != 4}
        for n in (3, 4)
    ]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    values = {
        "data": {"path": str(data)},
        "student": {"model": "table"},
        "out": str(tmp_path / "run"),
        "select": {"rule": "oracle", "truth": "fault"},
    }
    with pytest.raises(DataError, match=r"1 input rows \(the first is row 1\) are further"):
        run_all(
            checked(RunSettings, values, place="test"),
            progress=Silent(), doors=doors(), with_page=False,
        )  # fmt: skip
