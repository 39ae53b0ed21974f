"""Exit codes: 0 done, 1 failed, 2 misuse, 130 interrupted with what is finished kept."""

import json
from pathlib import Path

import click
import pytest

from tests.contract.conftest import call
from tests.pipeline.fakes import rows, write_rows
from tutelage.cli import main


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

    monkeypatch.setitem(main.commands, "stopped", stopped)
    interrupted = call("stopped")
    assert interrupted.exit_code == 130
    assert "the same command continues" in interrupted.stderr
