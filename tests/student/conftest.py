"""Texts, a tiny tokenizer and the golden scores beside the project."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tutelage.data import (
    VIEW_NAMES,
    Candidate,
    Message,
    Reading,
    TokenStats,
    candidate_id_of,
)

SHARED = Path(__file__).parents[2].parent / "shared"
GOLDEN = SHARED / "golden"
MODELS = Path.home() / ".cache" / "tutelage" / "models"


def candidate_of(instruction: str, response: str, *, system: str | None = None) -> Candidate:
    turns = [Message(role="user", content=instruction), Message(role="assistant", content=response)]
    if system is not None:
        turns.insert(0, Message(role="system", content=system))
    return candidate_from(turns)


def candidate_from(turns: list[Message]) -> Candidate:
    name = candidate_id_of(
        example_id="e", step="original", parent_id=None, teacher=None, messages=turns
    )
    return Candidate(candidate_id=name, example_id="e", messages=tuple(turns))


def model_folder(name: str) -> str:
    folder = MODELS / name
    if not (folder / "model.safetensors").is_file():
        pytest.skip(f"the model {name} is not on this machine")
    return str(folder)


def read_golden_rows() -> list[Candidate]:
    path = GOLDEN / "rows.jsonl"
    if not path.is_file():
        pytest.skip("the golden scores are not beside the project")
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        instruction = "\n".join(part for part in (row["instruction"], row["input"]) if part)
        found.append(candidate_of(instruction, row["output"]))
    return found


def golden_scores(name: str) -> list[dict[str, Any]]:
    text = (GOLDEN / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def rsr(stats: TokenStats) -> float:
    assert stats.ranks_T is not None
    return float(stats.ranks_T.sum(dtype=np.float64) / -stats.logprobs_T.sum(dtype=np.float64))


def assert_agrees(reading: Any, golden: dict[str, Any]) -> None:
    assert isinstance(reading, Reading), reading
    views = reading.views
    assert views["response"].tokens == golden["response_tokens"]
    assert views["instruction"].tokens == golden["instruction_tokens"]
    assert reading.straddles == golden["straddle"]
    nll = {view: views[view].mean_nll for view in VIEW_NAMES}
    for view in VIEW_NAMES:
        assert nll[view] == pytest.approx(golden[f"nll_{view}"], abs=5e-4), view
    ifd = np.exp(nll["response_given_instruction"] - nll["response"])
    r_ifd = np.exp(nll["instruction_given_response"] - nll["instruction"])
    assert ifd == pytest.approx(golden["ifd"], abs=1e-3)
    assert r_ifd == pytest.approx(golden["r_ifd"], abs=1e-3)
    ratio = nll["response_given_instruction"] / nll["response"]
    assert ratio == pytest.approx(golden["ifd_loss"], abs=1e-3)
    assert rsr(views["response_given_instruction"]) == pytest.approx(golden["rsr"], abs=2e-2)


@pytest.fixture(name="candidate_of")
def _candidate_of() -> Any:
    return candidate_of


@pytest.fixture(name="candidate_from")
def _candidate_from() -> Any:
    return candidate_from


@pytest.fixture(name="model_folder")
def _model_folder() -> Any:
    return model_folder


@pytest.fixture(name="golden_scores")
def _golden_scores() -> Any:
    return golden_scores


@pytest.fixture(name="assert_agrees")
def _assert_agrees() -> Any:
    return assert_agrees


@pytest.fixture
def golden_rows() -> list[Candidate]:
    return read_golden_rows()
