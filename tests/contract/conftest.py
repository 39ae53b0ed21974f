"""A small run with everything that needs neither a model nor a server."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.pipeline.fakes import doors, rows, settings, write_rows
from tutelage.cli import main
from tutelage.pipeline import run_all
from tutelage.progress import Silent

FILTERS = "filters: [{kind: length, maximum: 100}, {kind: exact_duplicates}]\n"


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with statistics, verdicts and filter decisions."""
    folder = tmp_path_factory.mktemp("contract")
    data = write_rows(folder / "data.jsonl", [{**row, "reference": "7"} for row in rows(8)])
    asked = settings(data, folder / "run", score={"statistics": True})
    run_all(asked, progress=Silent(), doors=doors())
    (folder / "filters.yaml").write_text(FILTERS, encoding="utf-8")
    for words in (
        ("verify", folder / "run", "--check", "number"),
        ("filter", folder / "run", "--config", folder / "filters.yaml"),
    ):
        done = call(*words)
        assert done.exit_code == 0, done.stderr
    return folder / "run"
