"""No control character of a row, a teacher or a server reaches the terminal."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tests.teacher.conftest import Answer, Endpoint, chat
from tutelage.cli import main
from tutelage.cli.output import escaped, print_json, say, show, show_bug

COMMANDS = Path(__file__).parents[2] / "src" / "tutelage" / "cli"
NASTY = "\x1b[2J\x1b]0;OWNED\x07\x9b31m\u202eevil\u2066x\u200b\r"
HIDDEN = set(NASTY) - set("[2J]0;OWNED31mevilx")
FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\U000e0100\U000e01ef"
"""Characters without a shape that Python calls printable."""


def hidden_in(text: str) -> set[str]:
    return {
        c
        for c in text
        if c not in "\n\t\u200c\u200d"
        and (not c.isprintable() or c in FILLERS or "\U000e0100" <= c <= "\U000e01ef")
    }


@given(st.text(st.characters(codec=None)))
def test_escaped_text_holds_nothing_hidden(text: str) -> None:
    shown = escaped(text)
    assert not {c for c in shown if c in HIDDEN or 0xD800 <= ord(c) < 0xE000}
    if not hidden_in(text):
        assert shown == text


@pytest.mark.parametrize("filler", FILLERS)
def test_what_has_no_shape_is_escaped(filler: str) -> None:
    assert hidden_in(filler)
    assert not hidden_in(escaped(f"a{filler}b"))


@given(st.dictionaries(st.text(st.characters(codec=None)), st.text(st.characters(codec=None))))
def test_json_stays_json(value: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("click.echo", lines.append)
        print_json(value)
    assert not set(lines[0]) & HIDDEN
    assert json.loads(lines[0]) == json.loads(json.dumps(value))


def test_both_streams_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    show(NASTY)
    say(NASTY)
    for text in capsys.readouterr():
        assert not hidden_in(text)
        assert text.startswith(r"\x1b[2J\x1b]0;OWNED\x07\x9b31m\u202eevil")


def test_the_traceback_of_a_bug_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    show_bug(RuntimeError, RuntimeError(NASTY), None)
    text = capsys.readouterr().err
    assert not hidden_in(text)
    assert "RuntimeError" in text


@pytest.mark.parametrize("path", sorted(COMMANDS.glob("*.py")), ids=lambda p: p.name)
def test_commands_print_through_one_place(path: Path) -> None:
    if path.name == "output.py":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name not in ("print", "click.echo", "click.secho", "click.style"), node.lineno
            assert not name.endswith(("stdout.write", "stderr.write")), node.lineno


def row(text: str, **more: str) -> dict[str, str]:
    return {"instruction": f"{text} q", "output": f"{text} an answer of words", **more}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    rows = [
        row(
            NASTY,
            refined_instruction=f"better {NASTY}",
            refined_output=f"a better answer {NASTY}",
            source=NASTY,
            teacher=NASTY,
        ),
        row("plain"),
        {"instruction": NASTY},
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, list(words))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert not hidden_in(done.stdout + done.stderr), done.output
    return done.exit_code, done.stdout + done.stderr


def test_explaining_a_row_shows_escapes(data: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    assert run("load", str(data), "--out", out)[0] == 0
    code, text = run("explain", out, "row:0")
    assert code == 0
    assert r"source \x1b[2J" in text
    assert r"by \x1b[2J" in text
    assert r"\u202eevil" in text
    assert run("explain", out, "row:2")[0] in (0, 1)
    assert run("explain", out, f"row:{NASTY}")[0] == 1
    assert run("explain", f"{out}{NASTY}", "row:0")[0] == 1


def test_what_is_typed_is_escaped_too() -> None:
    assert run(NASTY)[0] == 2
    assert run(f"--{NASTY}")[0] == 2
    assert run("explain", f"--{NASTY}")[0] == 2
    assert run("select", "nowhere", "--mix", NASTY)[0] in (1, 2)


@pytest.mark.parametrize("name", ["m", NASTY])
def test_a_server_that_refuses_cannot_write_to_the_terminal(
    name: str, data: Path, tmp_path: Path
) -> None:
    endpoint = Endpoint()
    answers: list[Any] = [
        Answer(status=400, body={"error": {"message": f"no {NASTY}"}}),
        Answer(status=400, body=f"<p>{NASTY}</p>".encode()),
    ]
    endpoint.answers(*answers)
    try:
        where = ("--teacher", name, "--base-url", endpoint.url)
        code, text = run("sample", str(data), *where, "--n", "1", "--out", str(tmp_path / "run"))
    finally:
        endpoint.stop()
    assert code == 1
    assert r"\x1b[2J" in text


def test_a_command_whose_teacher_gave_nothing_usable_fails_with_the_first_reason(
    data: Path, tmp_path: Path
) -> None:
    endpoint = Endpoint()
    endpoint.script = lambda _, body: (
        Answer(status=422, body={"detail": [{"loc": ["body", "seed"], "msg": "not permitted"}]})
        if "seed" in body
        else Answer(body=chat("An answer."))
    )
    words = ("sample", str(data), "--teacher", "m", "--base-url", endpoint.url, "--n", "1")
    try:
        code, text = run(*words, "--out", str(tmp_path / "a"))
        assert code == 1
        assert "replies of m could be used; the first: teacher_failed" in text
        assert "body.seed: not permitted" in text
        assert "hint: the server refuses seed: leave it out with omit: [seed]" in text
        assert f"Asking m at {endpoint.url}: 3 requests, 8 concurrent" in text
        code, text = run(*words, "--omit", "seed", "--out", str(tmp_path / "b"))
        assert code == 0
        assert "0 cached" in text
        sent = len(endpoint.seen)
        code, text = run(*words, "--omit", "seed", "--out", str(tmp_path / "b"), "--json")
        assert code == 0
        assert '"answered": 0' in text
        assert len(endpoint.seen) == sent
    finally:
        endpoint.stop()


def test_a_failed_command_does_not_list_what_the_database_still_refers_to(tmp_path: Path) -> None:
    holding = tmp_path / "holding.py"
    holding.write_text(
        "import threading, time, duckdb\n"
        "from tutelage.data.extensions import extension\n"
        "held = threading.Event()\n"
        "def hold():\n"
        "    connection = duckdb.connect()\n"
        "    held.set()\n"
        "    time.sleep(600)\n"
        "threading.Thread(target=hold, daemon=True).start()\n"
        "held.wait()\n"
        "@extension('filter')\n"
        "def short(candidate):\n"
        "    return None\n"
    )
    program = "from tutelage.cli import main; main()"
    words = ["--extensions", str(holding), "explain", str(tmp_path / "none"), "row:0"]
    ended = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: ")
    assert "leaked" not in ended.stderr
    assert len(ended.stderr.splitlines()) == 2
