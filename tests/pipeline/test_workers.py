"""A pool of workers is handed in; the pipeline knows none."""

from pathlib import Path

import pytest

from tests.pipeline.fakes import doors, rows, settings, write_rows
from tutelage.errors import SettingsError
from tutelage.pipeline import run_all
from tutelage.pipeline.config import RaySettings
from tutelage.pipeline.resources import Doors, teacher_doors, workers_of
from tutelage.progress import Silent


def test_workers_that_were_not_handed_in_are_refused_with_the_next_step(tmp_path: Path) -> None:
    asked = settings(
        write_rows(tmp_path / "d.jsonl", rows(2)), tmp_path / "run", score={"engine": "ray"}
    )
    with pytest.raises(SettingsError, match="no workers were handed in") as refused:
        run_all(asked, progress=Silent(), doors=doors())
    assert "RayWorkers" in str(refused.value.hint)


def test_the_local_engine_needs_no_workers() -> None:
    ways = teacher_doors(None, engine="local", pool=RaySettings())
    assert ways == Doors()
    with pytest.raises(SettingsError):
        workers_of(ways)
