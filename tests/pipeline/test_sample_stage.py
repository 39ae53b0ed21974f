"""Sampling into a run folder: several teachers, a second call, K accepted within a budget."""

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests.pipeline.fakes import doors, write_rows
from tutelage.cli import main
from tutelage.errors import RunError, SettingsError
from tutelage.pipeline import RunFolder, load_data, sample_data
from tutelage.progress import Silent
from tutelage.teacher import Request

NUMBER = {"check": "number"}


def sums(folder: Path, count: int = 6) -> Path:
    return write_rows(
        folder / "sums.jsonl",
        [{"instruction": f"What is {n} and {n}?", "reference": str(2 * n)} for n in range(count)],
    )


def adds(request: Request) -> str:
    """Right for about every second seed, in words of its own."""
    number = int(request.messages[-1].content.split()[2])
    off = (request.seed or 0) % 2
    return f"Case {request.key[:8]} of {request.model}. The answer is {2 * number + off}."


def sampled(folder: Path, *, names=("a",), asked=None, shares=(1, 1), accept=None, **sample):
    return sample_data(
        data={"path": str(sums(folder))},
        teachers=[{"model": n, "share": s} for n, s in zip(names, shares, strict=False)],
        sample=sample,
        accept=accept,
        out=folder / "run",
        progress=Silent(),
        doors=doors(adds, asked=asked),
    )


def candidates(folder: Path):
    return pq.read_table(folder / "run" / "candidates.parquet").to_pylist()


def test_several_teachers_share_the_samples_of_one_call(tmp_path):
    tally = sampled(tmp_path, names=("strong", "weak"), shares=(1, 4), n=10)
    found = Counter(c["teacher"] for c in candidates(tmp_path))
    assert found.total() == 60
    assert abs(found["strong"] - 12) <= 3
    assert set(tally["sample"]["teachers"]) == {"strong", "weak"}
    assert not tally["sample"]["away"]


def test_a_second_call_with_another_teacher_adds_to_the_first(tmp_path):
    sampled(tmp_path, names=("a",), n=3)
    sampled(tmp_path, names=("b",), n=2)
    assert Counter(c["teacher"] for c in candidates(tmp_path)) == {"a": 18, "b": 12}


def test_exactly_k_are_accepted_and_a_run_again_asks_nobody(tmp_path):
    asked: list[str] = []
    job = {"names": ("a", "b"), "n": 20, "accepted": 3, "accept": NUMBER}
    tally = sampled(tmp_path, asked=asked, **job)
    assert tally["sample"]["accepted"] == {
        "wanted": 3,
        "instructions_full": 6,
        "instructions_short": 0,
        "responses": 18,
    }
    assert len(asked) == len(candidates(tmp_path)) < 6 * 20
    words = ["verify", str(tmp_path / "run"), "--check", "number", "--json"]
    result = CliRunner().invoke(main, words)
    assert json.loads(result.stdout)["verdicts"]["right"] == 18
    (tmp_path / "run" / "candidates.parquet").unlink()
    again = sampled(tmp_path, asked=asked, **job)
    assert len(asked) == len(candidates(tmp_path))
    assert again["sample"]["accepted"] == tally["sample"]["accepted"]


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({"accepted": 2}, "go together"),
        ({"accept": NUMBER}, "go together"),
        ({"accepted": 2, "accept": {"check": "judge"}}, "a judge cannot be asked"),
        ({"names": ("a", "a")}, "two teachers share a name"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anybody_is_asked(tmp_path, job, message):
    asked: list[str] = []
    with pytest.raises(SettingsError, match=message):
        sampled(tmp_path, asked=asked, n=4, **job)
    assert not asked


def test_loading_does_not_drop_what_a_teacher_wrote(tmp_path):
    sampled(tmp_path, n=2)
    with pytest.raises(RunError, match="loading would drop candidates that a teacher wrote"):
        load_data(data={"path": str(sums(tmp_path))}, out=tmp_path / "run", progress=Silent())
    assert RunFolder(root=tmp_path / "run").candidates.exists()


def test_one_of_teacher_and_teachers_is_needed(tmp_path):
    words = ["sample", str(sums(tmp_path)), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert "give either --teacher or --teachers" in result.stderr
    listed = tmp_path / "teachers.yaml"
    listed.write_text("model: a\n")
    result = CliRunner().invoke(main, [*words, "--teachers", str(listed)])
    assert "expected a list of teachers" in result.stderr
