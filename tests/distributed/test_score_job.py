"""Scoring on a real local Ray instance with two workers; the student is a table."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tutelage as tt
from tests.pipeline.fakes import rows, write_rows
from tests.tiny_student import save_student
from tutelage.data import read, write_table
from tutelage.data.schemas import CANDIDATES, candidate_to_row
from tutelage.distributed import RayCells, RayWorkers
from tutelage.distributed.ray_tasks import opens_on_ray
from tutelage.distributed.score_job import RayScoring, ScoringWorker, WorkFolder
from tutelage.errors import StudentError
from tutelage.pipeline.config import RaySettings
from tutelage.pipeline.jobs import score_data
from tutelage.pipeline.resources import Doors
from tutelage.pipeline.sample_stage import sample_data
from tutelage.progress import Silent
from tutelage.student import StudentSettings, TableStudent
from tutelage.student import passages as chunks_module
from tutelage.teacher import ScriptedTeacher

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # Ray's own
    pytest.mark.slow,
    pytest.mark.timeout(240),
]
METRICS = ("ifd", "r_ifd", "rsr", "aslec_drop")


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks_module, "CHUNK_CANDIDATES", 4)


def score(data: Path, out: Path, **more: Any) -> dict[str, Any]:
    opener = more.pop("open_student", None) or (lambda s: TableStudent(name=s.model))
    return score_data(
        data={"path": str(data)},
        student={"model": "table"},
        metrics=METRICS,
        out=out,
        progress=more.pop("progress", None) or Silent(),
        doors=Doors(open_student=opener, workers=RayWorkers()),
        **more,
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    values: list[Any] = [
        *rows(21),
        "{broken",
        {"instruction": "Say it.", "output": " "},
        rows(1)[0],
    ]
    return write_rows(tmp_path / "data.jsonl", values)


class Told(Silent):
    def __init__(self) -> None:
        self.done = 0
        self.stages: list[str] = []

    def begin(self, stage: str, **_: Any) -> None:
        self.stages.append(stage)

    def advance(self, count: int = 1, **_: Any) -> None:
        self.done += count


def test_two_workers_give_the_tables_of_the_local_engine_and_tell_how_far_they_are(
    data: Path, tmp_path: Path
) -> None:
    here, there, told = tmp_path / "here.parquet", tmp_path / "there.parquet", Told()
    score(data, here, statistics=tmp_path / "here.stats.parquet")
    score(data, there, statistics=tmp_path / "there.stats.parquet", engine="ray", progress=told)
    assert pq.read_table(there).equals(pq.read_table(here))
    found = pq.read_table(tmp_path / "there.stats.parquet")
    assert found.equals(pq.read_table(tmp_path / "here.stats.parquet"))
    assert not list(tmp_path.glob(".*ray")), "chunks and parts are gone when the table is there"
    assert (told.done, told.stages) == (23, ["score"])


def test_every_worker_gets_its_share_of_the_chunks(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "seen"
    folder.mkdir()

    def slow(settings: StudentSettings) -> TableStudent:
        import os as system
        import time

        class Slow(TableStudent):
            def read(self, *args, **more):  # sent by value: it cannot name this module's imports
                (folder / f"{system.getpid()}-{time.monotonic_ns()}").touch()
                for _ in range(1200):  # until the other worker has a chunk, too
                    if len({path.name.split("-")[0] for path in folder.iterdir()}) == 2:
                        break
                    time.sleep(0.1)
                return TableStudent.read(self, *args, **more)

        return Slow(name=settings.model)

    score(data, tmp_path / "s.parquet", engine="ray", open_student=slow, ray={"workers": 2})
    shares = Counter(path.name.split("-")[0] for path in folder.iterdir())
    assert len(shares) == 2, shares


def test_what_stops_a_worker_reaches_the_caller(data: Path, tmp_path: Path) -> None:
    def fails(settings: StudentSettings) -> TableStudent:
        class Broken(TableStudent):
            def read(self, *_, **__):  # sent by value: it cannot name this module's imports
                raise StudentError("the weights are damaged", hint="fetch them again")

        return Broken(name=settings.model)

    with pytest.raises(StudentError, match="weights are damaged") as caught:
        score(data, tmp_path / "s.parquet", engine="ray", open_student=fails)
    assert caught.value.hint == "fetch them again"
    assert not (tmp_path / "s.parquet").exists()


def dies(folder: Path, *, once: int | None = None) -> Any:
    """A student whose process is killed, as by the system, when it first comes to a tool."""

    def opens(settings: StudentSettings) -> TableStudent:
        class Dies(TableStudent):
            def read(self, candidates, **more):
                chunk = list(candidates)
                texts = " ".join(c.instruction for c in chunk if c.messages)
                for candidate in chunk:
                    with (folder / "read").open("a") as file:
                        file.write(candidate.candidate_id + "\n")
                if f"number {once}?" in texts and not (folder / "died").exists():
                    (folder / "died").touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().read(iter(chunk), **more)

        return Dies(name=settings.model)

    return opens


def test_a_worker_that_is_killed_costs_nothing_but_its_own_chunk(
    data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "seen"
    folder.mkdir()
    score(data, tmp_path / "here.parquet")
    score(data, tmp_path / "s.parquet", engine="ray", open_student=dies(folder, once=9))
    assert (folder / "died").exists()
    assert pq.read_table(tmp_path / "s.parquet").equals(pq.read_table(tmp_path / "here.parquet"))
    seen = Counter((folder / "read").read_text().split())
    places = {r["candidate_id"]: r["row"] // 4 for r in score_rows_of(tmp_path / "here.parquet")}
    times = {place: {seen[c] for c in seen if places.get(c) == place} for place in range(1, 5)}
    assert times == {1: {1}, 2: {2}, 3: {1}, 4: {1}}


def score_rows_of(path: Path) -> list[dict[str, Any]]:
    return [r for r in pq.read_table(path).to_pylist()[:20] if r["candidate_id"]]


def test_candidates_that_kill_every_worker_are_failures_not_lost_rows(tmp_path: Path) -> None:
    candidates = [c for row in read(rows(6)) for c in row.candidates]
    student = TableStudent(name="table")
    job = RayScoring(
        settings=StudentSettings(model="table", dtype="float32"),
        fingerprint=student.fingerprint,
        metrics=("ifd",),
        pool=RaySettings(),
        folder=WorkFolder(root=tmp_path / "work"),
    )
    job.folder.create()
    worker = ScoringWorker(
        student=job.settings.model_dump(),
        metrics=job.metrics,
        statistics=False,
        fingerprint=student.fingerprint,
        folder=job.folder,
        open_student=lambda _: student,
    )
    names = [name for name, _ in job._named(candidates)]
    for name, chunk in job._named(candidates):
        rows_of_it = [candidate_to_row(c) for c in chunk]
        write_table(job.folder.chunk(name), pa.Table.from_pylist(rows_of_it, schema=CANDIDATES))
    blocks = [pa.table({"part": [name]}) for name in names]
    job.folder.started(names[0]).write_bytes(b"...")
    (lost,) = worker(blocks[0]).to_pylist()
    assert (lost["rows"], lost["problem"]["kind"]) == (0, "gave_up")
    assert worker(blocks[1]).to_pylist() == [{"part": names[1], "rows": 2, "problem": None}]
    assert not job.folder.started(names[1]).exists(), "it came to its end"
    found = list(job.rows(candidates))
    assert [row["candidate_id"] for row in found] == [c.candidate_id for c in candidates]
    assert [row["status"] for row in found] == ["student_failed"] * 4 + ["ok"] * 2
    assert "died 3 times" in found[0]["detail"]
    assert found[0].get("ifd") is None


def test_a_job_that_was_stopped_goes_on_with_what_is_missing(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "seen"
    folder.mkdir()

    (folder / "read").touch()  # the workers may have done the rest before they heard of it

    class Stops(Told):
        def advance(self, count: int = 1, **_: Any) -> None:
            super().advance(count)
            if self.done >= 8:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(data, tmp_path / "s.parquet", engine="ray", progress=Stops())
    score(data, tmp_path / "s.parquet", engine="ray", open_student=dies(folder))
    assert len((folder / "read").read_text().split()) <= 23 - 8
    score(data, tmp_path / "here.parquet")
    assert pq.read_table(tmp_path / "s.parquet").equals(pq.read_table(tmp_path / "here.parquet"))


def test_a_local_teacher_answers_on_every_worker_and_only_the_journal_here_is_written(
    tmp_path: Path,
) -> None:
    seen = tmp_path / "seen"
    seen.mkdir()

    def opens(settings):
        def line(request):
            text = request.messages[-1].content
            if "number 3?" in text and not (seen / "died").exists():
                (seen / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            (seen / f"{request.key}-{os.getpid()}").touch()
            return f"An answer to {text} is {request.key[:5]}."

        return ScriptedTeacher(line, name=settings.teacher_name)

    data = write_rows(tmp_path / "data.jsonl", rows(12))

    def sample(out: str) -> dict[str, Any]:
        pool = RaySettings(workers=2)
        return sample_data(
            data={"path": str(data)},
            teachers=[{"kind": "local", "model": "t", "concurrency": 2}],
            sample={"n": 2},
            out=tmp_path / out,
            progress=Silent(),
            doors=Doors(open_teacher=opens_on_ray(pool, open_worker=opens)),
        )

    tally = sample("run")["sample"]
    assert tally["statuses"] == {"ok": 24}
    assert tally["teacher"]["answered"] == 24
    assert (seen / "died").exists()
    answered = [path.name.split("-") for path in seen.glob("*-*")]
    assert len({process for _, process in answered}) >= 2
    assert len({key for key, _ in answered}) == 24
    table = pq.read_table(tmp_path / "run" / "candidates.parquet")
    again = sample("run")["sample"]
    counts = tally["teacher"] | {"answered": 0, "from_journal": 24}
    assert again == tally | {"teacher": counts}, "nothing is asked again: all is cached now"
    assert len(list(seen.glob("*-*"))) == len(answered)
    assert pq.read_table(tmp_path / "run" / "candidates.parquet").equals(table)


def test_nothing_of_ray_is_imported_by_the_local_engine(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data.jsonl", rows(3))
    code = f"""
import sys
from pathlib import Path
from tutelage.pipeline import score_data
from tutelage.pipeline.resources import Doors
from tutelage.progress import Silent
from tutelage.student import TableStudent
score_data(data={{"path": {str(data)!r}}}, student={{"model": "table"}}, metrics=["ifd"],
    out=Path({str(tmp_path / "s.parquet")!r}), progress=Silent(),
    doors=Doors(open_student=lambda s: TableStudent()))
sys.exit(any(name.partition(".")[0] == "ray" for name in sys.modules))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _write(folder: Path, number: int) -> None:
    if number < 0:
        raise StudentError(f"cell {number}", hint="mend it")
    (folder / str(number)).write_text(str(os.getpid()))


def test_cells_are_worked_on_elsewhere_and_given_when_they_are_done(tmp_path: Path) -> None:
    cells = RayCells(RaySettings(workers=2))
    assert sorted(cells.each(partial(_write, tmp_path), [0, 1, 2])) == [0, 1, 2]
    workers = {(tmp_path / str(number)).read_text() for number in range(3)}
    assert str(os.getpid()) not in workers


def test_a_cell_that_fails_stops_the_others_with_its_own_error(tmp_path: Path) -> None:
    cells = RayCells(RaySettings(workers=1))
    with pytest.raises(StudentError, match="cell -1") as raised:
        list(cells.each(partial(_write, tmp_path), [0, -1, 2]))
    assert raised.value.hint == "mend it"
    assert [path.name for path in tmp_path.iterdir()] == ["0"]


def test_an_evaluation_on_a_worker_of_a_real_ray_is_the_local_one(tmp_path: Path) -> None:
    items = [
        {"id": n, "question": f"Tool {n}?", "choices": ["cuts", "joins"], "answer_index": n % 2}
        for n in range(4)
    ]
    tasks = {"choice": write_rows(tmp_path / "choice.jsonl", items)}
    tiny = save_student(tmp_path / "tiny")
    how: Any = {"dtype": "float32"}
    here = tt.evaluate(tiny, tasks, out=tmp_path / "here", **how)
    there = tt.evaluate(
        tiny, tasks, out=tmp_path / "there", engine="ray", ray={"worker_cpus": 1}, **how
    )
    assert there.table.equals(here.table)
    assert there.table.num_rows > 0
    assert there.summary == {**here.summary, "out": str(tmp_path / "there")}
