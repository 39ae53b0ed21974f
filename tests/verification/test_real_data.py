"""The checks on real responses, which lie beside the project and are never committed."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from tutelage.verification import Constraint, VerifySettings, check_constraint, verify_responses

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
GSM8K = SHARED / "gsm8k" / "multi_teacher.jsonl.gz"
IFEVAL = SHARED / "eval" / "ifeval.jsonl"
TENTH = 10


@pytest.mark.shared
@pytest.mark.skipif(not GSM8K.exists(), reason="the real data is not beside the project")
def test_the_verdicts_agree_with_published_ones_where_those_are_sure():
    with gzip.open(GSM8K, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for index, line in enumerate(lines) if index % TENTH == 0]
    table = verify_responses(
        rows,
        VerifySettings(check="number"),
        response_field="output",
        reference_field="gold",
    )
    verdicts = table.column("verdict").to_pylist()
    sure = [
        (row["is_correct"], verdict)
        for row, verdict in zip(rows, verdicts, strict=True)
        if row["check"] == "exact"
    ]
    agreeing = sum(verdict == ("right" if is_correct else "wrong") for is_correct, verdict in sure)
    assert len(sure) > 4000
    assert agreeing / len(sure) >= 0.995


@pytest.mark.shared
@pytest.mark.skipif(not IFEVAL.exists(), reason="the real data is not beside the project")
def test_constraints_judge_a_known_model_about_as_the_published_checker_does():
    met: Counter[bool | None] = Counter()
    unknown = set()
    for line in IFEVAL.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["gpt4_response"] is None:
            continue
        for kind, values in zip(row["instruction_id_list"], row["kwargs"], strict=True):
            arguments = {k: v for k, v in values.items() if v is not None}
            found, why = check_constraint(
                row["gpt4_response"], Constraint(kind=kind, arguments=arguments)
            )
            met[found] += 1
            if found is None and "language" not in why:
                unknown.add((kind, why))
    assert not unknown
    # The paper gives 83.6 % for GPT-4 (strict, by instruction), on other responses of its.
    assert 0.80 < met[True] / met.total() < 0.87
    assert met[None] / met.total() < 0.02
