"""Agreement with an independent scorer that reads one row at a time in float32."""

import pytest

from tutelage.data import VIEW_NAMES
from tutelage.student import StudentSettings, open_student

pytestmark = [pytest.mark.model, pytest.mark.shared, pytest.mark.slow]


@pytest.mark.parametrize(
    "name",
    [
        "smollm2-135m.chat",
        "gemma3-270m.alpaca",
        # minutes in float32 on a processor without bfloat16 units, so not in every run
        pytest.param("qwen2.5-coder-0.5b.chat", marks=pytest.mark.conformance),
    ],
)
def test_every_golden_row_agrees(name, golden_rows, golden_scores, model_folder, assert_agrees):
    model, _, template = name.rpartition(".")
    settings = StudentSettings(
        model=model_folder(model), template=template, dtype="float32", use_cache=False
    )
    with open_student(settings) as student:
        outcomes = list(student.read(golden_rows, views=VIEW_NAMES, statistics="full"))
    golden = golden_scores(name)
    assert len(outcomes) == len(golden)
    for outcome, scores in zip(outcomes, golden, strict=True):
        assert_agrees(outcome, scores)
