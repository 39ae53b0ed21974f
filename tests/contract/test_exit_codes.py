"""Exit codes: 0 done, 1 failed, 2 misuse, 130 interrupted with what is finished kept."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.contract.conftest import call
from tests.pipeline.fakes import rows, write_rows
from tutelage.cli import main
from tutelage.cli.command_group import INTERRUPTED_TEXTS, interrupted_text


def test_done_is_0(run: Path) -> None:
    assert call("explain", run, "row:0").exit_code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("select", "{}"),
        ("report", "{}"),
        ("explain", "{}", "row:0"),
        ("score", "{}", "--student", "m"),
        ("delta", "{}/a.parquet", "{}/b.parquet", "--out", "{}/d.parquet"),
        ("metrics", "--agreement", "{}/a.parquet"),
        ("load", "{}/no.jsonl", "--out", "{}/l"),
    ],
    ids=lambda words: words[0],
)
def test_what_fails_is_1_with_a_message_and_nothing_on_stdout(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    failed = call(*(word.format(tmp_path) for word in words))
    assert failed.exit_code == 1
    assert "Error: " in failed.stderr
    assert failed.stdout == ""


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("run", "{}/no.yaml"),
        ("rounds", "{}/no.yaml"),
        ("prove", "{}/no.yaml"),
        ("drift", "{}/d.jsonl"),
        ("score",),
        ("score", "{}/d.jsonl", "--student", "m", "--metrics", "no", "--out", "{}/s.parquet"),
        ("train", "{}/no.jsonl", "--student", "m", "--out", "{}/t"),
        ("evaluate", "m", "--out", "{}/e"),
    ],
    ids=lambda words: f"{words[0]} {len(words)}",
)
def test_misuse_is_2(words: tuple[str, ...], tmp_path: Path) -> None:
    write_rows(tmp_path / "d.jsonl", rows(2))
    refused = call(*(word.format(tmp_path) for word in words))
    assert refused.exit_code == 2
    assert refused.stdout == ""


def test_interrupted_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def stopped() -> None:
        click.echo(json.dumps({}), err=True)
        raise KeyboardInterrupt

    said = {}
    for name in main.commands:
        monkeypatch.setitem(main.commands, name, stopped)
        interrupted = call(name)
        assert interrupted.exit_code == 130
        said[name] = interrupted.stderr.splitlines()[-1]
    assert {name for name, text in said.items() if "same command continues" in text} == {
        "demo", "run", "refine", "sample", "rank", "score", "audit", "frontier", "train",
        "evaluate", "prove", "rounds",
    }  # fmt: skip
    assert "viewer has stopped" in said["view"]


def test_every_command_says_what_ctrl_c_leaves() -> None:
    assert set(main.commands) == {name.partition(" ")[0] for name in INTERRUPTED_TEXTS}
    assert "starts over" in interrupted_text(["rank", "agreement", "a", "b"])
    assert "continues" in interrupted_text(["rank", "teachers", "pool.jsonl"])
    assert "continues" in interrupted_text(["score", "d.jsonl", "--out=s.parquet"])
    assert "starts over" in interrupted_text(["score", "d.jsonl", "--no-cache"])
    assert "nothing was written" in interrupted_text(["prove", "e.yaml", "--plan"])
    assert "nothing was written" in interrupted_text(["run", "c.yaml", "--dry-run"])


def test_the_module_is_the_command_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tutelage", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[2:] == call("--help").stdout.split()[2:]  # widths may differ
