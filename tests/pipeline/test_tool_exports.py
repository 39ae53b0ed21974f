"""Rows with tools, exported for each trainer and loaded back."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.test_export_stage import run_over
from tutelage.data import ReadSettings, read
from tutelage.errors import DataError, SettingsError
from tutelage.pipeline import RunFolder, explain_example, export
from tutelage.pipeline.set_rows import chosen_rows

WEATHER = {"name": "weather", "description": "The weather now.", "parameters": {"type": "object"}}
CALL = {"name": "weather", "arguments": {"city": "Oslo"}}


def tool_row(n: int, *, said: str = "") -> dict[str, Any]:
    call = {**CALL, "arguments": {"city": f"town {n}"}}
    return {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"How warm is it in town {n}?"},
            {"role": "assistant", "content": said, "tool_calls": [{"id": f"id{n}", **call}]},
            {"role": "tool", "tool_call_id": f"id{n}", "content": f'{{"t": {n}}}'},
            {"role": "assistant", "content": f"It is {n} degrees.", "reasoning_content": "Read t."},
        ],
        "tools": [WEATHER],
        "source": "tools",
    }


PLAIN = {"instruction": "What is a saw?", "output": "A tool that cuts wood.", "source": "plain"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run_over([PLAIN, tool_row(4), tool_row(5)], tmp_path_factory.mktemp("tools"))


def conversations(path: Path, *, thinking: bool = True) -> list[Any]:
    """What our reader makes of a file: the turns and the tools of each row."""
    found = []
    for row in read(str(path), ReadSettings(source_name="x")):
        assert row.status == "ok", row.detail
        (candidate,) = row.candidates
        turns = [
            (
                turn.role,
                turn.content,
                None
                if not turn.tool_calls
                else [c["function"] for c in json.loads(turn.tool_calls)],
                turn.reasoning if thinking else None,
            )
            for turn in candidate.messages
        ]
        found.append((turns, candidate.tools))
    return found


def test_the_run_s_own_file_holds_calls_and_tools(run: RunFolder) -> None:
    rows = [json.loads(line) for line in run.selected.read_text().splitlines()]
    assert [row["tools"] == "null" for row in rows] == [True, False, False]
    call = rows[1]["messages"][2]["tool_calls"][0]
    assert call["function"]["arguments"] == {"city": "town 4"}
    assert rows[1]["messages"][4]["reasoning_content"] == "Read t."
    assert len(conversations(run.selected)) == 3


@pytest.mark.parametrize(
    ("to", "ending"),
    [
        *(("messages", "jsonl"), ("messages", "parquet"), ("trl", "jsonl")),
        *(("axolotl", "jsonl"), ("axolotl", "parquet")),
    ],
)
def test_what_was_chosen_comes_back(run: RunFolder, tmp_path: Path, to: str, ending: str) -> None:
    file = tmp_path / f"rows.{ending}"
    export(run, to=to, file=file)
    assert conversations(file) == conversations(run.selected)


@pytest.mark.parametrize("to", ["llamafactory", "sharegpt"])
def test_llamafactory_has_turns_for_calls_and_results(
    run: RunFolder, tmp_path: Path, to: str
) -> None:
    file = tmp_path / "rows.jsonl"
    done = export(run, to=to, file=file)
    entry = json.loads(done["snippet"])["tutelage"]
    assert entry["columns"]["tools"] == "tools"
    role = "role" if to == "llamafactory" else "from"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    turns = rows[1][entry["columns"]["messages"]]
    assert [turn[role] for turn in turns][2:4] == ["function_call", "observation"]
    if to == "llamafactory":
        tags = entry["tags"]
        assert (tags["function_tag"], tags["observation_tag"]) == ("function_call", "observation")
    assert done["notes"] == [n for n in done["notes"] if "do not alternate" not in n]
    assert json.loads(rows[1]["tools"])[0]["function"] == WEATHER
    assert rows[0]["tools"] == ""
    back = conversations(file, thinking=False)
    before = conversations(run.selected, thinking=False)
    assert [turns[:-1] for turns, _ in back] == [turns[:-1] for turns, _ in before]
    assert [tools for _, tools in back] == [tools for _, tools in before]
    assert back[1][0][-1][1] == "<think>\nRead t.\n</think>\n\nIt is 4 degrees."


def test_llamafactory_s_parquet_has_the_same_turns(run: RunFolder, tmp_path: Path) -> None:
    export(run, to="llamafactory", file=tmp_path / "rows.parquet")
    export(run, to="llamafactory", file=tmp_path / "rows.jsonl")
    assert conversations(tmp_path / "rows.parquet") == conversations(tmp_path / "rows.jsonl")


def test_datasets_loads_the_columns_that_trl_reads(run: RunFolder, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    export(run, to="trl", file=tmp_path / "rows.jsonl")
    loaded = datasets.load_dataset(
        "json",
        data_files=str(tmp_path / "rows.jsonl"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    tools = [json.loads(text) for text in loaded["tools"]]
    assert [t is None for t in tools] == [True, False, False]
    calls = loaded[2]["prompt"][2]["tool_calls"]
    assert calls[0]["function"] == {"name": "weather", "arguments": {"city": "town 5"}}


def test_a_set_without_tools_has_no_column_for_them(tmp_path: Path) -> None:
    plain = run_over([PLAIN], tmp_path)
    assert "tools" not in next(chosen_rows(plain))
    assert "tools" not in json.loads(plain.selected.read_text().splitlines()[0])


def test_formats_that_cannot_hold_a_row_refuse_it(tmp_path: Path, run: RunFolder) -> None:
    with pytest.raises(DataError, match="alpaca"):
        export(run, to="alpaca", file=tmp_path / "rows.jsonl")
    speaks = run_over([tool_row(4, said="I look.")], tmp_path)
    with pytest.raises(DataError, match="contains both text and tool calls") as caught:
        export(speaks, to="llamafactory", file=tmp_path / "rows.jsonl")
    assert "--to trl" in caught.value.hint
    export(speaks, to="trl", file=tmp_path / "rows.jsonl")
    assert conversations(tmp_path / "rows.jsonl")[0][0][2][1] == "I look."


def test_turns_that_are_not_trained_on_stay_so(tmp_path: Path) -> None:
    row = {
        "messages": [
            {"role": "user", "content": "What is a saw?"},
            {"role": "assistant", "content": "No idea.", "weight": 0},
            {"role": "user", "content": "Please say what a saw is."},
            {"role": "assistant", "content": "A tool that cuts wood."},
        ]
    }
    run = run_over([row, {**PLAIN, "label": False}], tmp_path)
    for to, mark in (("messages", ("weight", 0)), ("axolotl", ("train", False))):
        done = export(run, to=to, file=tmp_path / "rows.jsonl")
        (found,) = [json.loads(x) for x in (tmp_path / "rows.jsonl").read_text().splitlines()]
        assert done["rows"] == 1
        assert found["messages"][1][mark[0]] == mark[1]
        (back,) = read(str(tmp_path / "rows.jsonl"))
        assert back.candidates[0].messages[1].trained is False


def test_explaining_shows_calls_and_thinking(run: RunFolder) -> None:
    text = explain_example(run.root, "row:1", full=True)
    assert '[call weather] {"city": "town 4"}' in text
    assert "[thinking] Read t." in text
    assert "tools:" in text


def test_template_arguments_of_a_row_are_exported_and_come_back(tmp_path: Path) -> None:
    quiet = {**PLAIN, "instruction": "Name a saw.", "chat_template_kwargs": {"think": False}}
    ours = run_over([PLAIN, quiet], tmp_path)
    for to, file in (("messages", ours.selected), ("trl", tmp_path / "trl.jsonl")):
        if to == "trl":
            export(ours, to="trl", file=file)
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        assert [row["chat_template_kwargs"] for row in rows] == [{}, {"think": False}]
        back = [row.candidates[0].template_args for row in read(str(file))]
        assert back == [None, '{"think": false}']
    said = export(ours, to="axolotl", file=tmp_path / "axolotl.jsonl")["notes"]
    assert any("1 row with own template arguments" in note for note in said)
    with pytest.raises(SettingsError, match=r"\.parquet: the rows have template arguments"):
        export(ours, to="messages", file=tmp_path / "rows.parquet")
    assert '"think": false' in explain_example(ours.root, "row:1")
