"""A made-up run with hostile rows, served by the real server; a browser where there is one."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import uvicorn

from tests.reporting.synthetic import MANIFEST, synthetic
from tutelage.data import write_table
from tutelage.pipeline import RunFolder
from tutelage.pipeline.resources import Doors
from tutelage.progress import Silent
from tutelage.selection import SelectSettings, select
from tutelage.student import TableStudent
from tutelage.viewer import Shelf, build_app, open_index

EXAMPLES = 120
TOKEN = "a-token-of-the-tests"
CHROMIUM = "/usr/bin/chromium"
DOORS = Doors(open_student=lambda settings: TableStudent(name=settings.model))


@pytest.fixture(scope="session")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder that every test copies."""
    root = tmp_path_factory.mktemp("web") / "a run <b>& more"
    root.mkdir()
    tables = synthetic(EXAMPLES)
    run = RunFolder(root=root)
    student = TableStudent(name="table").fingerprint
    scores = tables.scores
    assert isinstance(scores, pa.Table)
    mine = scores.filter(pa.compute.equal(scores["student"], "f00d"))
    names = pa.array([student] * mine.num_rows)
    scores = mine.set_column(mine.schema.get_field_index("student"), "student", names)
    decided = select(
        candidates=tables.candidates,
        scores=scores,
        examples=tables.examples,
        settings=SelectSettings(max_unscored_fraction=1.0),
        student=student,
    )
    for name, table in {
        "rows": tables.rows,
        "examples": tables.examples,
        "candidates": tables.candidates,
        "scores": scores,
        "decisions": decided.decisions,
    }.items():
        write_table(getattr(run, name), table)
    manifest: dict[str, Any] = json.loads(json.dumps(MANIFEST))
    manifest["settings"]["student"] = {"model": "table"}
    manifest["student"]["fingerprint"] = student
    rule = SelectSettings().model_dump(mode="json")
    manifest["stages"]["select"]["tally"] = {"rule": rule, "student": student}
    run.manifest.write_text(json.dumps(manifest))
    return root


@pytest.fixture
def run(made_run: Path, tmp_path: Path) -> RunFolder:
    root = tmp_path / made_run.name
    shutil.copytree(made_run, root)
    return RunFolder(root=root)


@pytest.fixture
def shelf(run: RunFolder, tmp_path: Path) -> Iterator[Shelf]:
    opened = Shelf(run, open_index(run, scratch=tmp_path, progress=Silent()))
    yield opened
    opened.close()


@dataclass(frozen=True)
class Served:
    """A server that listens."""

    run: RunFolder
    port: int

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def link(self) -> str:
        return f"{self.origin}/?token={TOKEN}"

    @property
    def cookie(self) -> str:
        return f"tutelage_{self.port}={TOKEN}"


@pytest.fixture
def served(run: RunFolder, tmp_path: Path) -> Iterator[Served]:
    from tutelage.viewer.server import _listening

    shelf = Shelf(run, open_index(run, scratch=tmp_path, progress=Silent()))
    with _listening(None) as door:
        port = door.getsockname()[1]
        app, viewer = build_app(shelf, token=TOKEN, port=port, doors=DOORS)
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield Served(run=run, port=port)
        server.should_exit = True
        thread.join(10)
        viewer.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if not Path(CHROMIUM).exists():
        pytest.skip("there is no browser")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
