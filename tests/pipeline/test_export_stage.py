"""Exports of conversations that not every format can hold, and the student on the card."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.fakes import doors, rows, settings, write_rows
from tests.tiny_student import tiny_tokenizer
from tutelage.errors import DataError
from tutelage.pipeline import RunFolder, export, jobs, run_all
from tutelage.pipeline.resources import note
from tutelage.pipeline.set_rows import chosen_rows
from tutelage.progress import Silent

MISFITS = {
    "begins with the assistant": "assistant user",
    "begins with the assistant, even": "assistant user assistant user",
    "two of the user in a row": "user user",
    "three of the user in a row": "user user user",
    "two of the assistant in a row": "user assistant assistant user",
    "system in the middle": "user assistant system user",
    "two systems": "system system user",
}
FITS = ("user", "system user", "user assistant user", "system user assistant user")


def talk(roles: str, name: str) -> dict[str, Any]:
    turns = [
        {"role": role, "content": f"{role} says {n} of {name}"}
        for n, role in enumerate([*roles.split(), "assistant"])
    ]
    return {"messages": turns, "source": "talks"}


def run_over(values: list[dict[str, Any]], folder: Path) -> RunFolder:
    data = write_rows(folder / "data.jsonl", values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "write_report", lambda root, **_: root)
        made = settings(data, folder / "run", select={"rule": "keep_all"}, teacher=None)
        run_all(made, progress=Silent(), doors=doors())
    return RunFolder(root=folder / "run")


@pytest.mark.parametrize("roles", MISFITS.values(), ids=MISFITS.keys())
def test_alpaca_refuses_a_conversation_it_cannot_hold(tmp_path: Path, roles: str) -> None:
    run = run_over([*rows(3), talk(roles, "misfit")], tmp_path)
    name = next(r["example_id"] for r in chosen_rows(run) if len(r["messages"]) > 2)
    file = tmp_path / "alpaca.jsonl"
    file.write_text("an earlier export\n")
    with pytest.raises(DataError, match=f"example {name}") as caught:
        export(run, to="alpaca", file=file)
    assert "--to trl" in str(caught.value.hint)
    assert file.read_text() == "an earlier export\n"


def test_alpaca_holds_every_conversation_that_alternates(tmp_path: Path) -> None:
    run = run_over([talk(roles, f"talk {n}") for n, roles in enumerate(FITS)], tmp_path)
    done = export(run, to="alpaca", file=tmp_path / "alpaca.jsonl")
    assert done["rows"] == len(FITS)
    lines = (tmp_path / "alpaca.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    assert last["system"] == "system says 0 of talk 3"
    assert last["history"] == [["user says 1 of talk 3", "assistant says 2 of talk 3"]]
    assert last["instruction"] == "user says 3 of talk 3"


@pytest.mark.parametrize("to", ["llamafactory", "sharegpt"])
def test_rows_that_llamafactory_will_skip_are_said(tmp_path: Path, to: str) -> None:
    misfits = [talk(roles, name) for name, roles in MISFITS.items()]
    run = run_over([*rows(3), *misfits], tmp_path)
    done = export(run, to=to, file=tmp_path / "data.jsonl")
    assert done["rows"] == 3 + len(misfits)
    (note_,) = [text for text in done["notes"] if "LLaMA-Factory leaves" in text]
    assert note_.startswith(f"{len(misfits)} rows in which user and assistant do not alternate")
    field = "messages" if to == "llamafactory" else "conversations"
    names = {"human": "user", "gpt": "assistant"}
    lines = [json.loads(line)[field] for line in (tmp_path / "data.jsonl").read_text().splitlines()]
    roles = [
        " ".join(names.get(turn.get("from", turn.get("role")), turn.get("role", "system"))
        for turn in turns[:-1])
        for turns in lines[3:]
    ]  # fmt: skip
    assert roles == list(MISFITS.values())


@pytest.mark.parametrize("to", ["messages", "trl", "axolotl"])
def test_formats_that_hold_any_conversation_say_nothing(tmp_path: Path, to: str) -> None:
    run = run_over([*rows(3), talk("user user", "x")], tmp_path)
    assert not export(run, to=to, file=tmp_path / "data.jsonl")["notes"]


def test_the_card_names_the_student_that_decided(tmp_path: Path) -> None:
    run = run_over(rows(3), tmp_path)
    decided = run.read_manifest()["student"]["fingerprint"]
    card = Path(export(run, to="messages", file=tmp_path / "a.jsonl")["card"]).read_text()
    assert "| student | table |" in card
    assert f"| student's fingerprint | {decided} |" in card
    # `tutelage score RUN --student other` reads the candidates, and decides nothing.
    note(run, student={"model": "other", "fingerprint": "0123", "dtype": "bfloat16"})
    card = Path(export(run, to="messages", file=tmp_path / "b.jsonl")["card"]).read_text()
    assert f"| student's fingerprint | {decided} |" in card
    assert "| student | not recorded |" in card
    assert "other" not in card
    assert "bfloat16" not in card


READS = (
    "{{% for m in messages %}}<|im_start|>{{{{ m['role'] }}}}\n{}{{{{ m['content'] }}}}<|im_end|>\n"
    "{{% endfor %}}{{% if add_generation_prompt %}}<|im_start|>assistant\n{{% endif %}}"
)
THINKS = "{{% if m['{0}'] %}}<think>{{{{ m['{0}'] }}}}</think>{{% endif %}}"


@pytest.mark.parametrize(
    ("read", "said"),
    [
        ("reasoning_content", None),
        ("reasoning", "rename the field to `reasoning`"),
        ("thinking", "rename the field to `thinking`"),
        ("nothing", "write it into `content`"),
    ],
)
def test_thinking_that_the_students_template_does_not_read_is_said(
    tmp_path: Path, read: str, said: str | None
) -> None:
    pytest.importorskip("transformers")
    thought = talk("user", "x")
    thought["messages"][-1]["reasoning_content"] = "first this, then that"
    run = run_over([*rows(2), thought], tmp_path)
    student = tmp_path / "student"
    tiny_tokenizer(template=READS.format(THINKS.format(read))).save_pretrained(student)
    (student / "config.json").write_text('{"model_type": "llama"}')
    (student / "model.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
    about = {"model": str(student)}
    note(run, student=about, settings={**run.read_manifest()["settings"], "student": about})
    for to in ("trl", "messages", "axolotl", "llamafactory"):
        notes = export(run, to=to, file=tmp_path / "data.jsonl")["notes"]
        if said is None or to == "llamafactory":  # which writes thinking into the text
            assert notes == []
        else:
            assert notes == [n for n in notes if n.startswith("1 row with `reasoning_content`")]
            assert said in notes[0]


def test_a_student_that_is_not_here_has_no_template_to_check(tmp_path: Path) -> None:
    thought = talk("user", "x")
    thought["messages"][-1]["reasoning_content"] = "first this, then that"
    run = run_over([thought], tmp_path)
    assert export(run, to="trl", file=tmp_path / "data.jsonl")["notes"] == []


@pytest.mark.parametrize(("name", "form"), [("set.jsonl", "json"), ("set.parquet", "parquet")])
def test_a_snippet_loads_the_file_in_its_own_format(tmp_path: Path, name: str, form: str) -> None:
    ours = run_over([{"instruction": "Name a saw.", "output": "A hand saw."}], tmp_path)
    file = tmp_path / name
    snippet = export(ours, to="messages", file=file)["snippet"]
    assert snippet.startswith("from datasets import load_dataset\n")
    assert f'load_dataset("{form}", data_files="{name}"' in snippet
    compile(snippet, name, "exec")
    assert f"ds_type: {form}\n" in export(ours, to="axolotl", file=file)["snippet"]
