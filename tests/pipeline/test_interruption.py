"""A run that is killed at any moment and started again ends like one that was not."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.pipeline.fakes import rows, write_rows
from tests.teacher.conftest import Answer, Endpoint, chat
from tutelage.data import content_hash
from tutelage.pipeline import RunFolder

CONCURRENCY = 4
EXAMPLES = 24
PATIENCE = 280
"""Seconds for a run of a few: a machine that does other work is slow, and only a hang is not."""

SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.pipeline.fakes import settings
from tutelage.pipeline import run_all
from tutelage.pipeline.resources import Doors
from tutelage.progress import Silent
from tutelage.student import TableStudent

teacher = {{"model": "served", "base_url": {url!r}, "concurrency": {concurrency},
           "supports_schema": "yes", "max_attempts": 2}}
run_all(settings(Path({data!r}), Path({out!r}), teacher=teacher), progress=Silent(),
        doors=Doors(open_student=lambda s: TableStudent(name=s.model)), with_page={with_page})
"""


def improved(_: int, body: dict[str, Any]) -> Answer:
    """Depends on the request alone, so that two runs can be compared."""
    name = content_hash(body["messages"])[:6]
    keys = body["response_format"]["json_schema"]["schema"]["properties"]
    texts = {
        "criticism": "Short.",
        "instruction": f"Explain in order why case {name} matters to a learner.",
        "response": f"Case {name} matters since it shows the rule at work.",
    }
    text = json.dumps({key: texts[key.removeprefix("new_")] for key in keys})
    return Answer(body=chat(text), seconds=0.01)


@pytest.fixture(scope="module")
def served() -> Iterator[Endpoint]:
    server = Endpoint()
    server.script = improved
    yield server
    server.stop()


def start(folder: Path, out: Path, url: str, *, with_page: bool = False) -> subprocess.Popen[bytes]:
    text = SCRIPT.format(
        root=str(Path(__file__).parents[2]),
        url=url,
        concurrency=CONCURRENCY,
        data=str(folder / "data.jsonl"),
        out=str(out),
        with_page=with_page,
    )
    return subprocess.Popen([sys.executable, "-c", text], stderr=subprocess.PIPE)


def finish(folder: Path, out: Path, url: str) -> None:
    with start(folder, out, url) as process:
        try:
            _, said = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()  # where it has ended, this does nothing
    assert process.returncode == 0, said.decode()


def outcome(out: Path) -> dict[str, Any]:
    run = RunFolder(root=out)
    tables = ("rows", "examples", "candidates", "scores", "decisions", "nulls")
    found: dict[str, Any] = {name: pq.read_table(getattr(run, name)).to_pylist() for name in tables}
    return found | {"selected": run.selected.read_bytes(), "rejected": run.rejected.read_bytes()}


@pytest.fixture(scope="module")
def whole(served: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing killed."""
    folder = tmp_path_factory.mktemp("whole")
    write_rows(folder / "data.jsonl", rows(EXAMPLES))
    finish(folder, folder / "whole", served.url)
    assert len(served.seen) == EXAMPLES * 2
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("moment", [2, 19, 31, EXAMPLES * 2 - 1, "late"])
def test_killed_and_started_again_it_ends_the_same_and_asks_nothing_twice(
    served: Endpoint, whole: Path, tmp_path: Path, moment: int | str
) -> None:
    calls = EXAMPLES * 2
    served.seen.clear()
    process = start(whole, tmp_path / "killed", served.url, with_page=moment == "late")
    deadline = time.monotonic() + 600
    wanted = calls if moment == "late" else int(moment)
    while len(served.seen) < wanted and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    if moment == "late":
        time.sleep(random.Random(4).uniform(0.0, 0.3))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    finish(whole, tmp_path / "killed", served.url)
    assert outcome(tmp_path / "killed") == outcome(whole / "whole")
    assert len(served.seen) - calls <= CONCURRENCY
    leftovers = [p.name for p in (tmp_path / "killed").iterdir() if p.name.endswith(".tmp")]
    assert len(leftovers) <= 3
