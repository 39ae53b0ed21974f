"""Every file in examples/ does what the README and the tutorial say it does."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from tutelage.cli import main
from tutelage.data import read

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the examples in it, as in a fresh clone."""
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.jsonl")), ids=lambda p: p.name)
def test_every_row_of_an_example_is_read(path: Path) -> None:
    rows = list(read(str(path)))
    assert rows
    assert {row.status for row in rows} == {"ok"}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda p: p.name)
def test_every_configuration_is_valid(path: Path, here: Path) -> None:
    from tutelage.pipeline import load_settings

    settings = load_settings(path, overrides={})
    assert Path(str(settings.data.path)).is_file()
    assert yaml.safe_load(path.read_text())["out"].startswith("runs/")


@pytest.mark.model
def test_the_tutorials_rows_are_chosen_and_caught_as_it_says(here: Path) -> None:
    """Row 0: the rewrite mends a mismatch. Row 1: the student likes a wrong one, verify not."""
    invoke("run", "examples/rewrites.yaml")
    rows = {
        r["row"]: r["example_id"] for r in pq.read_table("runs/rewrites/rows.parquet").to_pylist()
    }

    def step(row: int) -> str | None:
        decisions = pq.read_table("runs/rewrites/decisions.parquet").to_pylist()
        return {d["example_id"]: d["step"] for d in decisions}[rows[row]]

    assert [step(0), step(1), step(7)] == ["response_reflection", "response_reflection", "original"]
    invoke("verify", "runs/rewrites", "--check", "maths")
    invoke("select", "runs/rewrites")
    assert [step(0), step(1)] == ["response_reflection", "original"]
    selected = [
        json.loads(line) for line in Path("runs/rewrites/selected.jsonl").read_text().splitlines()
    ]
    assert all("55" not in row["messages"][-1]["content"] for row in selected)
