"""Exports, loaded back by the programs they are for, where those are installed."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.pipeline.fakes import doors, rows, settings, write_rows
from tests.tiny_student import save_student, tiny_tokenizer
from tutelage.pipeline import RunFolder, export, jobs, run_all
from tutelage.pipeline.set_rows import chosen_rows
from tutelage.progress import Silent
from tutelage.student import StudentSettings, open_student

datasets = pytest.importorskip("datasets")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("export")
    talk: list[dict[str, str]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is tool 99?"},
        {"role": "assistant", "content": "A saw, which cuts."},
        {"role": "user", "content": "And what does tool 99 join?"},
        {"role": "assistant", "content": "Nothing: tool 99 only cuts 99 parts."},
    ]
    data = write_rows(folder / "data.jsonl", [*rows(8), {"messages": talk, "source": "talks"}])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "write_report", lambda root, **_: root)
        made = settings(data, folder / "run", select={"rule": "keep_all"})
        run_all(made, progress=Silent(), doors=doors())
    return RunFolder(root=folder / "run")


def conversations(run: RunFolder) -> list[list[dict[str, str]]]:
    return [row["messages"] for row in chosen_rows(run)]


def load(path: Path, tmp_path: Path) -> Any:
    return datasets.load_dataset(
        "json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
    )


def test_trl_reads_the_conversations_that_were_chosen(run: RunFolder, tmp_path: Path) -> None:
    export(run, to="trl", file=tmp_path / "trl.jsonl")
    loaded = load(tmp_path / "trl.jsonl", tmp_path)
    assert [row["prompt"] + row["completion"] for row in loaded] == conversations(run)


def test_trl_trains_on_exactly_what_was_scored(run: RunFolder, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    from tutelage.training import check_truth

    student = save_student(tmp_path / "student")
    export(run, to="trl", file=tmp_path / "trl.jsonl")

    def opened(*, end: bool) -> Any:
        return open_student(
            StudentSettings(model=str(student), use_cache=False, score_end_of_turn=end)
        )

    found = check_truth(tmp_path / "trl.jsonl", scored=opened(end=False), trained=opened(end=True))
    assert found.through == "TRL's own preparation"
    assert found.is_true, found.findings


def test_a_column_that_begins_late_in_a_large_file_can_be_loaded(
    run: RunFolder, tmp_path: Path
) -> None:
    """`datasets` fixes the columns by the first ten megabytes."""
    export(run, to="messages", file=tmp_path / "small.jsonl")
    found = [json.loads(line) for line in (tmp_path / "small.jsonl").read_text().splitlines()]
    original = next(row for row in found if not row["teacher"])
    written = next(row for row in found if row["teacher"])
    original["messages"][-1]["content"] = "x" * 200_000
    lines = [json.dumps(original)] * 60 + [json.dumps(written)]
    (tmp_path / "large.jsonl").write_text("\n".join(lines) + "\n")
    assert len(load(tmp_path / "large.jsonl", tmp_path)) == 61


def as_alpaca(row: dict[str, Any]) -> list[dict[str, str]]:
    turns = [{"role": "system", "content": row["system"]}] if row["system"] else []
    for asked, answered in row["history"]:
        turns.append({"role": "user", "content": asked})
        turns.append({"role": "assistant", "content": answered})
    turns.append({"role": "user", "content": row["instruction"]})
    return [*turns, {"role": "assistant", "content": row["output"]}]


def test_alpaca_rows_hold_the_whole_conversation(run: RunFolder, tmp_path: Path) -> None:
    export(run, to="alpaca", file=tmp_path / "alpaca.jsonl")
    loaded = load(tmp_path / "alpaca.jsonl", tmp_path)
    assert [as_alpaca(row) for row in loaded] == conversations(run)


@pytest.mark.parametrize("to", ["llamafactory", "alpaca", "sharegpt"])
def test_every_column_that_llamafactory_is_told_of_is_in_the_file(
    run: RunFolder, tmp_path: Path, to: str
) -> None:
    """Held to the documented schema of dataset_info.json."""
    done = export(run, to=to, file=tmp_path / "data.jsonl")
    entry = json.loads(done["snippet"])["tutelage"]
    assert entry["file_name"] == "data.jsonl"
    assert entry["formatting"] == ("alpaca" if to == "alpaca" else "sharegpt")
    loaded = load(tmp_path / "data.jsonl", tmp_path)
    assert set(entry["columns"].values()) <= set(loaded.column_names)
    if to != "alpaca":
        tags = {"role_tag": "from", "content_tag": "value", **entry.get("tags", {})}
        turn = loaded[0][entry["columns"]["messages"]][0]
        assert set(turn) == {tags["role_tag"], tags["content_tag"]}


@pytest.mark.parametrize("to", ["llamafactory", "alpaca", "sharegpt"])
def test_llamafactorys_own_converter_reads_them(run: RunFolder, tmp_path: Path, to: str) -> None:
    pytest.importorskip("llamafactory.data.converter", exc_type=ImportError)
    from llamafactory.data.converter import get_dataset_converter
    from llamafactory.data.parser import get_dataset_list

    done = export(run, to=to, file=tmp_path / "data.jsonl")
    (tmp_path / "dataset_info.json").write_text(done["snippet"])
    (attributes,) = get_dataset_list(["tutelage"], str(tmp_path))
    convert = get_dataset_converter(
        attributes.formatting, attributes, SimpleNamespace(media_dir=str(tmp_path))
    )
    back = []
    for row in load(tmp_path / "data.jsonl", tmp_path):
        found = convert(row)
        system = [{"role": "system", "content": found["_system"]}] if found["_system"] else []
        back.append([*system, *found["_prompt"], *found["_response"]])
    assert back == conversations(run)


def test_axolotls_own_strategy_trains_on_the_responses(run: RunFolder, tmp_path: Path) -> None:
    pytest.importorskip("axolotl.prompt_strategies.chat_template", exc_type=ImportError)
    import yaml
    from axolotl.prompt_strategies.chat_template import StrategyLoader
    from axolotl.utils.dict import DictDefault

    done = export(run, to="axolotl", file=tmp_path / "data.jsonl")
    (entry,) = yaml.safe_load(done["snippet"])["datasets"]
    tokenizer = tiny_tokenizer()
    config = DictDefault({"train_on_inputs": False, "sequence_len": 2048})
    strategy = StrategyLoader()(tokenizer, config, ds_cfg=entry)
    for row, messages in zip(
        load(tmp_path / "data.jsonl", tmp_path), conversations(run), strict=True
    ):
        tokens = strategy.tokenize_prompt(row)
        loss = [label for label in tokens["labels"] if label != -100]
        said = [m["content"] for m in messages if m["role"] == "assistant"]
        assert tokenizer.decode(loss) == "".join(f"{text}<|im_end|>" for text in said)


def test_several_assistant_turns_are_pointed_out(run: RunFolder, tmp_path: Path) -> None:
    done = export(run, to="llamafactory", file=tmp_path / "data.jsonl")
    assert any("mask_history" in note for note in done["notes"])
    assert not export(run, to="trl", file=tmp_path / "trl.jsonl")["notes"]


def test_the_card_says_who_wrote_who_chose_and_what_is_not_known(
    run: RunFolder, tmp_path: Path
) -> None:
    done = export(run, to="messages", file=tmp_path / "train.jsonl")
    card = Path(done["card"]).read_text()
    assert Path(done["card"]).name == "train.card.md"
    import yaml

    head = yaml.safe_load(card.split("---")[1])
    assert head["size"] == done["rows"]
    assert head["license"] == "not recorded"
    for text in ("| rule | keep_all |", "| student | table |", "| teacher | scripted |"):
        assert text in card
    for source in ("tools", "things", "talks"):
        assert f"| source: {source} | not recorded |" in card
    assert str(tmp_path) not in card
