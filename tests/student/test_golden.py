"""Agreement with an independent scorer that reads one row at a time in float32."""

import pytest

from tutelage.data import VIEW_NAMES
from tutelage.student import StudentSettings, open_student

pytestmark = [pytest.mark.model, pytest.mark.shared, pytest.mark.slow]


SOME_ROWS = [
    ("smollm2-135m.chat", 8),
    ("gemma3-270m.alpaca", 16),
    ("qwen2.5-coder-0.5b.chat", 20),
]
"""Each model, and that every n-th row is read: all of them take minutes in float32."""


@pytest.mark.parametrize(
    "read",
    [
        *SOME_ROWS,
        *(
            pytest.param((name, 1), marks=pytest.mark.conformance)
            for name, step in SOME_ROWS
            if step > 1
        ),
    ],
    ids=lambda read: f"{read[0]}-{read[1]}",
)
def test_every_golden_row_agrees(read, golden_rows, golden_scores, model_folder, assert_agrees):
    name, step = read
    model, _, template = name.rpartition(".")
    settings = StudentSettings(
        model=model_folder(model), template=template, dtype="float32", use_cache=False
    )
    with open_student(settings) as student:
        outcomes = list(student.read(golden_rows[::step], views=VIEW_NAMES, statistics="full"))
    golden = golden_scores(name)[::step]
    assert len(outcomes) == len(golden)
    for outcome, scores in zip(outcomes, golden, strict=True):
        assert_agrees(outcome, scores)
