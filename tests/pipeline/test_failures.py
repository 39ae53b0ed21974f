"""A teacher that is busy, broken, slow, silly or away: the run ends and says what failed."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests.pipeline.fakes import rows, settings, write_rows
from tests.pipeline.ledger import check_ledger
from tests.pipeline.test_interruption import improved
from tests.teacher.conftest import Answer, Endpoint, chat
from tutelage.cli import main
from tutelage.data import content_hash
from tutelage.errors import TeacherStoppedError
from tutelage.pipeline import RunFolder, run_all
from tutelage.pipeline.resources import Doors
from tutelage.progress import Silent
from tutelage.student import TableStudent
from tutelage.teacher import open_teacher

EXAMPLES = 8
NOBODY = "http://127.0.0.1:9/v1"


pytestmark = pytest.mark.usefixtures("blank_report")
Script = Callable[[int, dict[str, Any]], Answer]


@pytest.fixture
def served() -> Iterator[Endpoint]:
    server = Endpoint()
    server.script = improved
    yield server
    server.stop()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "data.jsonl", rows(EXAMPLES))


def doors() -> Doors:
    return Doors(open_student=lambda s: TableStudent(name=s.model), open_teacher=open_teacher)


def teacher(url: str, **more: Any) -> dict[str, Any]:
    quick = {"max_attempts": 2, "max_wait_seconds": 0.05, "timeout_seconds": 5, "concurrency": 2}
    return {"model": "served", "base_url": url, "supports_schema": "yes", **quick, **more}


def run(data: Path, out: Path, url: str, **more: Any) -> dict[str, Any]:
    asked = settings(data, out, teacher=teacher(url, **more))
    summary = run_all(asked, progress=Silent(), doors=doors())
    check_ledger(RunFolder(root=out))
    return summary


def statuses(out: Path) -> Counter[str]:
    """Of what the teacher was asked for."""
    table = pq.read_table(RunFolder(root=out).candidates)
    return Counter(row["status"] for row in table.to_pylist() if row["step"] != "original")


def test_waits_and_failures_that_pass_leave_no_trace_in_the_result(
    served: Endpoint, data: Path, tmp_path: Path
) -> None:
    def flaky(index: int, body: dict[str, Any]) -> Answer:
        if index % 2:
            return improved(index, body)
        return (
            Answer(status=429, headers={"retry-after": "0.01"}, body={"error": "slow down"}),
            Answer(status=500, body=b"<html>oops</html>"),
            Answer(drop=True),
            Answer(body=chat("never whole"), cut=True),
        )[index // 2 % 4]

    served.script = flaky
    run(data, tmp_path / "run", served.url, concurrency=1)
    assert statuses(tmp_path / "run") == {"ok": EXAMPLES * 2}


SILLY: dict[str, tuple[Answer, str]] = {
    "nonsense": (Answer(body=chat("lorem ipsum")), "unparseable"),
    "half a JSON": (Answer(body=chat('{"criticism": "x", "instru')), "unparseable"),
    "cut by length": (Answer(body=chat('{"criticism": "x', finish="length")), "cut_by_length"),
    "a refusal": (Answer(body=chat("I'm sorry, but I can't help with that.")), "refused"),
    "no text": (Answer(body=chat("")), "empty_response"),
}


def test_silly_replies_are_statuses_each_its_own(
    served: Endpoint, data: Path, tmp_path: Path
) -> None:
    kinds = list(SILLY)

    def silly(_: int, body: dict[str, Any]) -> Answer:
        number = int(content_hash(body["messages"])[:6], 16)
        return SILLY[kinds[number % len(kinds)]][0]

    served.script = silly
    summary = run(data, tmp_path / "run", served.url)
    found = statuses(tmp_path / "run")
    assert found.total() == EXAMPLES * 2
    assert set(found) <= {status for _, status in SILLY.values()}
    assert len(found) > 1
    assert summary["select"]["kept"] > 0
    assert summary["select"]["steps_kept"].keys() == {"original"}


BAD: dict[str, Script] = {
    "overloaded": lambda *_: Answer(status=429, headers={"retry-after": "0.01"}, body={}),
    "asks for an hour": lambda *_: Answer(status=429, headers={"retry-after": "3600"}, body={}),
    "broken": lambda *_: Answer(status=500, body=b"<html>oops</html>"),
    "hangs": lambda *_: Answer(body=chat("late"), seconds=5.0),
}


@pytest.mark.parametrize("name", [*BAD, "closed", "closed before it was probed"])
def test_a_teacher_that_goes_away_leaves_statuses_and_is_asked_again_for_just_those(
    served: Endpoint, data: Path, tmp_path: Path, name: str
) -> None:
    good_until = 5

    def bad(index: int, body: dict[str, Any]) -> Answer:
        return improved(index, body) if index < good_until else BAD[name](index, body)

    url = served.url if name in BAD else NOBODY
    schema = "auto" if "probed" in name else "yes"
    if name in BAD:
        served.script = bad
    answered = good_until if name in BAD else 0
    out = tmp_path / "run"
    summary = run(data, out, url, timeout_seconds=0.3, supports_schema=schema)
    assert summary["refine"]["away"]
    assert statuses(out) == Counter(
        {"ok": answered, "teacher_failed": EXAMPLES * 2 - answered}
        if answered
        else {"teacher_failed": EXAMPLES * 2}
    )
    assert summary["select"]["kept"] > 0
    assert RunFolder(root=out).report.exists()

    served.script = improved
    served.seen.clear()
    mended = run(data, out, served.url)
    assert mended["refine"]["away"] is None
    assert statuses(out) == {"ok": EXAMPLES * 2}
    assert len(served.seen) == EXAMPLES * 2 - answered
    run(data, out, served.url)
    assert len(served.seen) == EXAMPLES * 2 - answered


def test_a_wrong_key_ends_the_run_at_once_and_is_shown_nowhere(
    served: Endpoint, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRONG_KEY", "sk-very-wrong-key")

    def tells(index: int, _: dict[str, Any]) -> Answer:
        key = served.seen[index].headers["authorization"]
        return Answer(status=401, body={"error": {"message": f"{key} is not allowed"}})

    served.script = tells
    with pytest.raises(TeacherStoppedError, match="401") as stopped:
        run(data, tmp_path / "run", served.url, api_key_env="WRONG_KEY")
    assert not stopped.value.may_pass
    assert "sk-very" not in f"{stopped.value} {stopped.value.hint}"
    for path in (tmp_path / "run").iterdir():
        assert b"sk-very" not in path.read_bytes()


@pytest.mark.slow
def test_the_command_makes_what_can_be_made_and_then_fails(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tutelage.cli.commands.run.doors_with_workers", doors)
    config = tmp_path / "c.yaml"
    config.write_text(
        f"data: {{path: {data}}}\nstudent: {{model: t}}\nout: {tmp_path / 'run'}\n"
        f"teacher: {{model: m, base_url: {NOBODY}, supports_schema: yes, max_attempts: 1}}\n"
    )
    result = CliRunner().invoke(main, ["run", str(config)])
    assert result.exit_code == 1
    assert "Error: stopped asking" in result.stderr
    assert "hint: run the same command again" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Report: " in result.stdout
    check_ledger(RunFolder(root=tmp_path / "run"))
