"""Preference pairs: who preferred what, why, and that trainers load and train on them."""

import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests.pipeline.fakes import doors, rows, settings, write_rows
from tests.tiny_student import save_student
from tutelage.cli import main
from tutelage.errors import RunError, SettingsError
from tutelage.pipeline import RunFolder, export, run_all, score_run, verify_run
from tutelage.pipeline.jobs import load_data
from tutelage.pipeline.overrides import overrule
from tutelage.progress import Silent

ANSWERS = {
    "exact": "{n} and {n} are {two}. The answer is {two}.",
    "slow": "We add {n} to {n} step by step. The answer is {two}.",
    "off": "Surely the answer is {three}.",
    "silent": "I would rather talk of the weather.",
}


def pool(folder: Path, count: int = 5) -> RunFolder:
    """A pool of four answers to each question: two right, one wrong, one without an answer."""
    values = [
        {
            "instruction": f"What is {n} and {n}?",
            "reference": str(2 * n),
            "source": "sums",
            "model": model,
            "response": text.format(n=n, two=2 * n, three=2 * n + 3),
        }
        for n in range(1, count + 1)
        for model, text in ANSWERS.items()
    ]
    data = write_rows(folder / "pool.jsonl", values)
    load_data(data={"path": str(data)}, out=folder / "run", progress=Silent())
    return RunFolder(root=folder / "run")


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = pool(tmp_path_factory.mktemp("checked"))
    verify_run(run.root, check={"check": "number"}, progress=Silent())
    return run


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def said(turns: list[dict[str, str]]) -> str:
    return turns[-1]["content"]


def test_a_right_answer_is_preferred_to_a_wrong_one(checked: RunFolder, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    done = export(checked, to="dpo", file=file)
    found = lines(file)
    assert done["rows"] == len(found) == 2 * 5  # two right answers, one wrong one, five questions
    assert done["preferred_by"] == {"verifier": 10}
    for row in found:
        n = int(said(row["prompt"]).split()[2])
        assert [turn["role"] for turn in row["prompt"]] == ["user"]
        assert f"The answer is {2 * n}." in said(row["chosen"])
        assert said(row["rejected"]) == f"Surely the answer is {2 * n + 3}."
        assert row["chosen_reason"] == "right by number"
        assert row["rejected_reason"] == "wrong by number"
        assert row["chosen_teacher"] in ("exact", "slow")
        assert row["rejected_teacher"] == "off"
        assert json.loads(row["chosen_verdicts"]) == {"number": "right"}
        assert "margin" not in row  # nobody scored anything: no number, not 0


def test_an_answer_that_says_nothing_is_neither(checked: RunFolder, tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    done = export(checked, to="kto", file=file)
    found = lines(file)
    assert done["labels"] == {"true": 10, "false": 5}
    assert {row["teacher"] for row in found if not row["label"]} == {"off"}
    assert done["left_out"] == {"no_verdict": 5}


def test_pairs_per_prompt_keeps_the_first_and_counts_the_rest(
    checked: RunFolder, tmp_path: Path
) -> None:
    done = export(checked, to="dpo", file=tmp_path / "pairs.jsonl", pairs_per_prompt=1)
    assert done["rows"] == 5
    assert done["left_out"] == {"beyond_pairs_per_prompt": 5}


def test_no_reason_is_an_error_that_names_the_way_out(tmp_path: Path) -> None:
    run = pool(tmp_path, count=2)
    file = tmp_path / "pairs.jsonl"
    file.write_text("an earlier export\n")
    for to in ("dpo", "kto", "llamafactory-dpo", "llamafactory-kto"):
        with pytest.raises(RunError, match="nothing was verified") as caught:
            export(run, to=to, file=file)
        assert "--pairs likelihood" in str(caught.value.hint)
    assert file.read_text() == "an earlier export\n"


def test_verdicts_without_a_contrast_are_such_an_error_too(tmp_path: Path) -> None:
    run = pool(tmp_path, count=2)
    verify_run(run.root, check={"check": "number"}, progress=Silent())
    verdicts = pq.read_table(run.verdicts)
    every = pa.array(["right"] * len(verdicts))
    place = verdicts.column_names.index("verdict")
    pq.write_table(verdicts.set_column(place, "verdict", every), run.verdicts)
    with pytest.raises(RunError, match="one that is right and one that is wrong") as caught:
        export(run, to="dpo", file=tmp_path / "pairs.jsonl")
    assert "--pairs likelihood" in str(caught.value.hint)


def test_the_students_own_preference_is_labelled_as_such(tmp_path: Path) -> None:
    run = pool(tmp_path)
    score_run(run.root, student={"model": "table"}, metrics=["grape"], progress=Silent(),
              doors=doors())  # fmt: skip
    done = export(run, to="dpo", file=tmp_path / "pairs.jsonl", pairs="likelihood")
    found = lines(tmp_path / "pairs.jsonl")
    assert {row["preferred_by"] for row in found} == {"student_likelihood"}
    assert all(row["margin"] > 0 for row in found)
    assert any("not necessarily bad text" in note for note in done["notes"])
    nats = {
        row["candidate_id"]: row["nll_response_given_instruction"]
        for row in pq.read_table(run.scores).to_pylist()
    }
    for row in found:
        mine, other = nats[row["chosen_candidate_id"]], nats[row["rejected_candidate_id"]]
        assert row["margin"] == pytest.approx(other - mine)


def test_checks_that_contradict_each_other_make_no_pair(tmp_path: Path) -> None:
    run = pool(tmp_path, count=2)
    verify_run(run.root, check={"check": "number"}, progress=Silent())
    verdicts = pq.read_table(run.verdicts).to_pylist()
    turned = {"right": "wrong", "wrong": "right"}
    more = [
        {**row, "check": "strict", "verdict": turned.get(row["verdict"], row["verdict"])}
        for row in verdicts
    ]
    schema = pq.read_schema(run.verdicts)
    pq.write_table(pa.Table.from_pylist([*verdicts, *more], schema=schema), run.verdicts)
    with pytest.raises(RunError, match="6 checks_disagree"):
        export(run, to="dpo", file=tmp_path / "pairs.jsonl")
    export(run, to="dpo", file=tmp_path / "pairs.jsonl", check="strict")
    assert {row["chosen_teacher"] for row in lines(tmp_path / "pairs.jsonl")} == {"off"}
    with pytest.raises(SettingsError, match="has no verdicts of this check") as caught:
        export(run, to="dpo", file=tmp_path / "pairs.jsonl", check="maths")
    assert "number, strict" in str(caught.value.hint)


def test_a_judge_under_another_name_is_still_a_judge(tmp_path: Path) -> None:
    run = pool(tmp_path, count=2)
    verify_run(run.root, check={"check": "number"}, name="opinion", progress=Silent())
    manifest = run.read_manifest()
    manifest["stages"]["verify:opinion"]["tally"]["kind"] = "judge"
    run.write_manifest(manifest)
    done = export(run, to="dpo", file=tmp_path / "pairs.jsonl")
    assert done["preferred_by"] == {"judge": 4}


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("decided")
    data = write_rows(folder / "rows.jsonl", rows(6))
    run_all(settings(data, folder / "run"), progress=Silent(), doors=doors())
    return RunFolder(root=folder / "run")


def test_versions_with_another_context_are_never_paired(decided: RunFolder, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    export(decided, to="dpo", file=file, pairs="likelihood")
    table = pq.read_table(decided.candidates).to_pylist()
    turns = {row["candidate_id"]: row["messages"] for row in table}
    found = lines(file)
    assert found
    for row in found:
        chosen, rejected = (turns[row[f"{w}_candidate_id"]] for w in ("chosen", "rejected"))
        assert chosen[:-1] == rejected[:-1]
        assert chosen[-1] != rejected[-1]


def test_a_person_s_choice_is_a_reason(decided: RunFolder, tmp_path: Path) -> None:
    table = pq.read_table(decided.candidates).to_pylist()
    by_context: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in table:
        if row["status"] == "ok":
            key = row["example_id"], row["messages"][-2]["content"]
            by_context.setdefault(key, []).append(row)
    mine, other = next(versions for versions in by_context.values() if len(versions) == 2)
    overrule(decided, mine["example_id"], candidate_id=mine["candidate_id"], note="It is plainer.")
    done = export(decided, to="dpo", file=tmp_path / "pairs.jsonl")
    (row,) = lines(tmp_path / "pairs.jsonl")
    assert (row["chosen_candidate_id"], row["rejected_candidate_id"]) == (
        mine["candidate_id"],
        other["candidate_id"],
    )
    assert row["preferred_by"] == "person"
    assert row["chosen_reason"] == "kept by a person: It is plainer."
    assert isinstance(row["margin"], float)
    assert done["preferred_by"] == {"person": 1}


def test_what_a_filter_dropped_is_in_no_pair(tmp_path: Path) -> None:
    run = pool(tmp_path, count=3)
    verify_run(run.root, check={"check": "number"}, progress=Silent())
    table = pq.read_table(run.candidates).to_pylist()
    kept = [row["teacher"] != "slow" for row in table]
    pq.write_table(
        pa.table(
            {
                "candidate_id": [row["candidate_id"] for row in table],
                "kept": kept,
                "reason": ["" if k else "too_long" for k in kept],
            }
        ),
        run.filters,
    )
    done = export(run, to="dpo", file=tmp_path / "pairs.jsonl")
    assert {row["chosen_teacher"] for row in lines(tmp_path / "pairs.jsonl")} == {"exact"}
    assert done["left_out"] == {"filtered_out": 3}


def test_settings_of_preferences_are_refused_elsewhere(checked: RunFolder, tmp_path: Path) -> None:
    file = tmp_path / "f.jsonl"
    with pytest.raises(SettingsError, match="--check: --to trl writes no preferences"):
        export(checked, to="trl", file=file, check="number")
    with pytest.raises(SettingsError, match="--set random"):
        export(checked, to="dpo", file=file, chosen="random")
    with pytest.raises(SettingsError, match="parquet"):
        export(checked, to="dpo", file=tmp_path / "f.parquet")
    with pytest.raises(SettingsError, match="--pairs-per-prompt: kto has no pairs"):
        export(checked, to="kto", file=file, pairs_per_prompt=1)


def test_the_command_writes_the_ranking_format(checked: RunFolder, tmp_path: Path) -> None:
    file = tmp_path / "ranking.jsonl"
    words = ["export", str(checked.root), "--to", "llamafactory", "--pairs", "checked"]
    shown = CliRunner().invoke(main, [*words, "--out", str(file)])
    assert shown.exit_code == 0, shown.stderr
    assert f"File: {file}" in shown.stdout
    result = CliRunner().invoke(main, [*words, "--out", str(file), "--json"])
    assert result.exit_code == 0, result.stderr
    done = json.loads(result.stdout)
    assert done["to"] == "llamafactory-dpo"
    entry = json.loads(done["snippet"])["tutelage_preferences"]
    assert entry["ranking"] is True
    columns, tags = entry["columns"], entry["tags"]
    for row in lines(file):
        prompt = row[columns["messages"]]
        assert len(prompt) % 2 == 1  # LLaMA-Factory leaves a ranking row out otherwise
        assert prompt[-1][tags["role_tag"]] == tags["user_tag"]
        for side in ("chosen", "rejected"):
            answer = row[columns[side]]
            assert isinstance(answer, dict)  # a list would be read as no answer at all
            assert answer[tags["role_tag"]] == tags["assistant_tag"]
            assert answer[tags["content_tag"]]


@pytest.mark.parametrize(("to", "count"), [("llamafactory-dpo", 10), ("llamafactory-kto", 15)])
def test_llamafactory_reads_its_formats(
    checked: RunFolder, tmp_path: Path, to: str, count: int
) -> None:
    pytest.importorskip("llamafactory.data.converter", exc_type=ImportError)
    from llamafactory.data.converter import get_dataset_converter
    from llamafactory.data.parser import get_dataset_list

    done = export(checked, to=to, file=tmp_path / "data.jsonl")
    (tmp_path / "dataset_info.json").write_text(done["snippet"])
    (attributes,) = get_dataset_list(["tutelage_preferences"], str(tmp_path))
    convert = get_dataset_converter(
        attributes.formatting, attributes, SimpleNamespace(media_dir=str(tmp_path))
    )
    rows = lines(tmp_path / "data.jsonl")
    assert len(rows) == count
    for row in rows:
        found = convert(row)
        assert said(found["_prompt"]) == said(row["messages"][:1])
        wanted, unwanted = (turn["content"] for turn in found["_response"])
        if to == "llamafactory-dpo":
            assert (wanted, unwanted) == (row["chosen"]["content"], row["rejected"]["content"])
        else:
            assert (wanted if row["label"] else unwanted) == said(row["messages"])


@pytest.mark.parametrize("to", ["dpo", "kto"])
def test_trl_trains_on_what_was_exported(
    checked: RunFolder, tmp_path: Path, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trl")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tutelage.training.model_weights import quiet

    trl = importlib.import_module("trl")
    file = tmp_path / "preferences.jsonl"
    done = export(checked, to=to, file=file)
    model = save_student(tmp_path / "student")
    config, trainer_of = (getattr(trl, f"{to.upper()}{kind}") for kind in ("Config", "Trainer"))
    data = load_dataset(
        "json", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache")
    )
    columns = json.loads(
        done["snippet"].partition("select_columns(")[2].partition(")")[0].replace("'", '"')
    )
    with quiet():
        trainer = trainer_of(
            model=AutoModelForCausalLM.from_pretrained(model),
            ref_model=AutoModelForCausalLM.from_pretrained(model),
            processing_class=AutoTokenizer.from_pretrained(model),
            train_dataset=data.select_columns(columns),
            args=config(
                output_dir=str(tmp_path / "out"),
                max_length=None,
                max_steps=2,
                per_device_train_batch_size=4,
                logging_steps=1,
                learning_rate=1e-3,
                use_cpu=True,
                report_to="none",
                disable_tqdm=True,
                save_strategy="no",
            ),
        )
        trainer.train()
    assert trainer.state.global_step == 2
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2
    assert all(loss > 0 for loss in losses)
    assert os.environ["HF_HUB_OFFLINE"] == "1"
