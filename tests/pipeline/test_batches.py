"""A run whose teacher is asked by batch: submit, end, come back, collect, until it is whole."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests.pipeline.fakes import rows, settings, write_rows
from tests.teacher.batch_provider import Provider, expired, good, provider
from tutelage.cli import main
from tutelage.data import content_hash
from tutelage.errors import RunError, TeacherUnreachableError
from tutelage.pipeline import jobs, run_all, sample_data
from tutelage.pipeline.check_stages import verify_run
from tutelage.pipeline.resources import Doors
from tutelage.progress import Silent
from tutelage.student import TableStudent

DOORS = Doors(open_student=lambda s: TableStudent(name=s.model))


@pytest.fixture
def served() -> Iterator[Provider]:
    with provider() as made:
        yield made


def improved(line: dict[str, Any]) -> dict[str, Any]:
    name = content_hash(line["body"]["messages"])[:6]
    keys = line["body"]["response_format"]["json_schema"]["schema"]["properties"]
    texts = {
        "criticism": "Short.",
        "instruction": f"Explain in order why case {name} matters to a learner.",
        "response": f"Case {name} matters since it shows the rule at work.",
    }
    return good(json.dumps({key: texts[key.removeprefix("new_")] for key in keys}))


def written(line: dict[str, Any]) -> dict[str, Any]:
    """The same from a teacher without JSON schemas; a sample is any text."""
    system = line["body"]["messages"][0]["content"]
    if "<<<" not in system:
        return good("Any answer to that.")
    name = content_hash(line["body"]["messages"])[:6]
    text = f"Case {name} matters since it shows the rule at work."
    return good(f"<<<CRITICISM>>>\nShort.\n<<<NEW RESPONSE>>>\n{text}\n<<<END>>>")


def teacher(served: Provider) -> dict[str, Any]:
    return {"model": "served", "base_url": served.url, "supports_schema": "yes", "batch": True}


def statuses(run: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for c in pq.read_table(run / "candidates.parquet").to_pylist():
        name = f"{c['step']}:{c['status']}"
        found[name] = found.get(name, 0) + 1
    return found


def test_two_batches_make_a_run_and_no_call_is_bought_twice(
    served: Provider, tmp_path: Path
) -> None:
    data = write_rows(tmp_path / "d.jsonl", rows(6))
    wanted = settings(data, tmp_path / "run", teacher=teacher(served))

    def once() -> dict[str, Any]:
        return run_all(wanted, progress=Silent(), doors=DOORS, with_page=False)

    first = once()
    assert "6 requests are waiting in batch-0" in first["refine"]["away"]
    assert statuses(tmp_path / "run") == {
        "original:ok": 6,
        "instruction_reflection:waiting_for_batch": 6,
    }  # no response is asked for before it is known which instruction goes on
    assert first["select"]["kept"] > 0  # the rest of the run is made with what is there
    assert once()["refine"]["away"] == first["refine"]["away"]
    served.finish(improved)
    second = once()
    assert "6 requests are waiting in batch-1" in second["refine"]["away"]
    assert statuses(tmp_path / "run")["response_reflection:waiting_for_batch"] == 6
    served.finish(improved)
    third = once()
    assert third["refine"]["away"] is None
    assert statuses(tmp_path / "run") == {
        "original:ok": 6,
        "instruction_reflection:ok": 6,
        "response_reflection:ok": 6,
    }
    assert once()["refine"]["teacher"]["answered"] == 0
    assert len(served.bought) == len(set(served.bought)) == 12
    assert not served.chats


def test_the_command_line_says_what_is_waiting_and_exits_with_1(
    served: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "write_report", lambda root, **_: root)
    monkeypatch.setattr("tutelage.cli.commands.run.doors_with_workers", lambda: DOORS)
    data = write_rows(tmp_path / "d.jsonl", rows(3))
    file = tmp_path / "config.yaml"
    config = {
        "data": {"path": str(data)},
        "student": {"model": "table"},
        "teacher": teacher(served),
        "refine": {"steps": ["response"]},
        "out": str(tmp_path / "run"),
    }
    file.write_text(json.dumps(config))
    done = CliRunner().invoke(main, ["run", str(file)])
    assert done.exit_code == 1
    assert "3 waiting_for_batch" in done.output
    assert "3 requests are waiting in batch-0 (in_progress" in done.output
    assert "Run the same command again" in done.output
    served.finish(improved)
    done = CliRunner().invoke(main, ["run", str(file)])
    assert done.exit_code == 0, done.output


def test_the_flag_batch_submits_exits_and_collects_later(served: Provider, tmp_path: Path) -> None:
    data = str(write_rows(tmp_path / "d.jsonl", rows(3)))
    asked = ("--teacher", "served", "--base-url", served.url, "--prices", "1,2", "--batch")
    refine = ["refine", data, *asked, "--steps", "response", "--out", str(tmp_path / "rewritten")]
    sample = ["sample", data, *asked, "--n", "2", "--out", str(tmp_path / "sampled")]
    guess = CliRunner().invoke(main, [*refine, "--dry-run", "--json"])
    direct = CliRunner().invoke(
        main, [*(w for w in refine if w != "--batch"), "--dry-run", "--json"]
    )
    for command, count in ((refine, 3), (sample, 6)):
        before = len(served.bought)
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 1
        assert f"{count} requests are waiting in batch-" in done.output
        assert "hint: run the same command again later to collect the batch" in done.output
        assert len(served.bought) == before + count
        assert CliRunner().invoke(main, command).exit_code == 1  # it still waits
        assert len(served.bought) == before + count
        served.finish(written)
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
        assert CliRunner().invoke(main, command).exit_code == 0  # nothing is left to ask
        assert len(served.bought) == before + count
    assert guess.exit_code == direct.exit_code == 0
    one, other = json.loads(guess.stdout), json.loads(direct.stdout)
    assert one["cost_at_most"] == pytest.approx(other["cost_at_most"] / 2)
    assert one["seconds"] is None
    assert "within a day" in one["work"][0]["basis"]


def test_a_run_without_a_teacher_has_no_batch(tmp_path: Path) -> None:
    config = {"data": {"path": "d.jsonl"}, "student": {"model": "s"}, "out": "run"}
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    done = CliRunner().invoke(main, ["run", str(tmp_path / "config.yaml"), "--batch"])
    assert done.exit_code != 0
    assert "teacher" in done.output


def test_an_expired_batch_is_a_status_and_is_asked_again(served: Provider, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", rows(3))
    wanted = settings(
        data, tmp_path / "run", teacher=teacher(served), refine={"steps": ["response"]}
    )
    run_all(wanted, progress=Silent(), doors=DOORS, with_page=False)
    lost = served.bought[0]
    served.finish(lambda r: expired() if r["custom_id"] == lost else improved(r), status="expired")
    run_all(wanted, progress=Silent(), doors=DOORS, with_page=False)
    found = statuses(tmp_path / "run")
    assert found["response_reflection:batch_expired"] == 1
    assert found["response_reflection:ok"] == 2
    run_all(wanted, progress=Silent(), doors=DOORS, with_page=False)
    served.finish(improved)
    run_all(wanted, progress=Silent(), doors=DOORS, with_page=False)
    assert statuses(tmp_path / "run")["response_reflection:ok"] == 3
    assert sorted(served.bought).count(lost) == 2
    assert len(served.bought) == 4


def test_samples_and_a_judge_are_asked_by_batch_too(served: Provider, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", [{"instruction": f"Say {n}."} for n in range(3)])

    def sampled() -> dict[str, Any]:
        return sample_data(
            data={"path": str(data)},
            teachers=[teacher(served)],
            sample={"n": 2},
            out=tmp_path / "run",
            progress=Silent(),
            doors=DOORS,
        )

    assert sampled()["sample"]["statuses"] == {"waiting_for_batch": 6}
    served.finish(lambda r: good(f"Word {r['custom_id'][:5]} it is."))
    assert sampled()["sample"]["statuses"] == {"ok": 6}

    def judged() -> Any:
        return verify_run(
            tmp_path / "run",
            check={"check": "judge"},
            teacher=teacher(served),
            progress=Silent(),
            doors=DOORS,
        )

    with pytest.raises(TeacherUnreachableError, match="6 requests are waiting in batch-1"):
        judged()
    assert not (tmp_path / "run" / "verdicts.parquet").exists()
    served.finish(lambda _: good("Right."))
    with pytest.raises(RunError, match="none of the responses could be checked"):
        judged()  # no judge answers like this; the replies are kept
    assert (tmp_path / "run" / "verdicts.parquet").exists()
    assert len(served.bought) == 12
