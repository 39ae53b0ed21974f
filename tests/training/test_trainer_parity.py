"""The trainer's truth: what TRL trains against what was scored, with faults put in on purpose."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_student import CHATML, save_student
from tutelage.student import StudentSettings, open_student
from tutelage.training import check_truth
from tutelage.training import trainer_parity as truth_module

pytest.importorskip("trl")


def opened(student: Path, *, end: bool, template: str = "chat") -> Any:
    return open_student(
        StudentSettings(
            model=str(student), use_cache=False, template=template, score_end_of_turn=end
        )
    )


def truth(path: Path, student: Path, *, template: str = "chat", **more: Any) -> Any:
    return check_truth(
        path,
        scored=opened(student, end=False, template=template),
        trained=opened(student, end=True, template=template),
        **more,
    )


def exported(path: Path, rows: Path) -> Path:
    """As `tutelage export --to trl` writes it."""
    found = []
    for line in rows.read_text().splitlines():
        messages = json.loads(line)["messages"]
        found.append({"prompt": messages[:-1], "completion": messages[-1:]})
    path.write_text("\n".join(map(json.dumps, found)) + "\n")
    return path


def test_an_exported_set_is_trained_as_it_was_scored(
    rows: Path, student: Path, tmp_path: Path
) -> None:
    found = truth(exported(tmp_path / "trl.jsonl", rows), student)
    assert found.through == "TRL's own preparation"
    assert found.findings == {"same": 12}
    assert found.is_true
    assert found.ends == {"<|im_end|>\n": 12}
    assert all(row.loss_tokens > row.scored_tokens > 0 for row in found.rows)


def test_trl_renders_each_row_with_its_own_template_arguments(tmp_path: Path) -> None:
    shows = CHATML.replace("{% for", "{% if mode is defined %}[{{ mode }}]{% endif %}{% for", 1)
    student = save_student(tmp_path / "student", template=shows)
    pair = {
        "prompt": [{"role": "user", "content": "Name a colour."}],
        "completion": [{"role": "assistant", "content": "red, blue and green"}],
    }
    arguments = [None, {"mode": "short"}, {"other": [1]}, {"mode": None}, '{"mode": "long"}']
    rows = [{**pair, **({"chat_template_kwargs": a} if a else {})} for a in arguments]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    for settings in ({}, {"template_args": {"mode": "usual"}}):
        students = [
            open_student(
                StudentSettings(
                    model=str(student), use_cache=False, score_end_of_turn=end, **settings
                )
            )
            for end in (False, True)
        ]
        found = check_truth(path, scored=students[0], trained=students[1])
        assert found.through == "TRL's own preparation"
        assert found.findings == {"same": 5}


def test_rows_of_messages_are_checked_as_tutelage_trains_them(rows: Path, student: Path) -> None:
    found = truth(rows, student)
    assert found.through == "tutelage train"
    assert found.is_true
    assert found.ends == {"<|im_end|>": 12}


def test_a_base_student_is_checked_through_its_raw_template(rows: Path, base_student: Path) -> None:
    found = truth(rows, base_student, template="alpaca")
    assert found.is_true
    assert found.ends == {"</s>": 12}


def test_a_length_limit_that_cuts_without_a_word_is_found(
    rows: Path, student: Path, tmp_path: Path
) -> None:
    path = exported(tmp_path / "trl.jsonl", rows)
    lengths = sorted(row.scored_tokens for row in truth(path, student).rows)
    found = truth(path, student, max_length=lengths[-1] + 20)
    assert not found.is_true
    assert set(found.findings) == {"same", "cut"}


def test_rows_that_a_limit_leaves_without_loss_are_found_one_by_one(
    rows: Path, student: Path, tmp_path: Path
) -> None:
    path = exported(tmp_path / "trl.jsonl", rows)
    found = truth(path, student, max_length=5)
    assert found.findings == {"no_loss": 12}
    assert "cut to 5 tokens it has no loss left: TRL silently drops it" in str(found.rows[0].detail)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_one_row_that_trl_drops_does_not_hide_the_others(
    student: Path, tmp_path: Path, at: int
) -> None:
    """Rows keep their number through TRL, which drops one of them."""
    given = [
        {
            "prompt": [{"role": "user", "content": "red, blue " * (60 if n == at else 1)}],
            "completion": [{"role": "assistant", "content": f"green {n}"}],
        }
        for n in range(3)
    ]
    path = tmp_path / "trl.jsonl"
    path.write_text("\n".join(map(json.dumps, given)))
    found = truth(path, student, max_length=64)
    findings = ["no_loss" if n == at else "same" for n in range(3)]
    assert [row.finding for row in found.rows] == findings
    assert found.rows[at].scored_tokens > 0
    assert found.rows[at].loss_tokens == 0


@pytest.mark.parametrize("as_exported", [True, False])
def test_every_row_is_compared_and_counted(
    student: Path,
    tmp_path: Path,
    write_rows: Any,
    monkeypatch: pytest.MonkeyPatch,
    *,
    as_exported: bool,
) -> None:
    monkeypatch.setattr(truth_module, "CHUNK_ROWS", 128)
    path = write_rows(tmp_path / "rows.jsonl", 300)
    if as_exported:
        path = exported(tmp_path / "trl.jsonl", path)
    with path.open("a") as file:
        file.write('{"prompt": [{"ro')
    found = truth(path, student)
    assert found.findings == {"same": 300, "not_scored": 1}
    assert found.through == ("TRL's own preparation" if as_exported else "tutelage train")
    assert (found.rows_in_file, found.not_compared) == (301, 0)
    assert [row.row for row in found.rows] == list(range(301))
    assert "malformed_json" in str(found.rows[-1].detail)
    assert not found.is_true


def test_rows_beyond_the_limit_are_counted_as_not_compared(rows: Path, student: Path) -> None:
    found = truth(rows, student, most_rows=5)
    assert len(found.rows) == 5
    assert (found.rows_in_file, found.not_compared) == (12, 7)


def test_a_student_of_another_template_is_found_out(
    rows: Path, student: Path, base_student: Path, tmp_path: Path
) -> None:
    """Scored through alpaca, trained through the chat template: not the same tokens."""
    found = truth(exported(tmp_path / "trl.jsonl", rows), student, template="alpaca")
    assert not found.is_true
    assert "same" not in found.findings


def test_a_row_that_cannot_be_scored_is_said(student: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    given = [{"instruction": "a", "output": "b"}, {"instruction": "a", "output": " "}]
    path.write_text("\n".join(map(json.dumps, given)))
    found = truth(path, student)
    assert found.findings == {"same": 1, "not_scored": 1}
