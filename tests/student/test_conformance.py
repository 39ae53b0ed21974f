"""Every model family, read by both engines, against a plain loop over one row at a time.

The plain loop is transformers' own forward pass, one row without padding, and log_softmax in
float64. `make conformance` reads all families and holds the table in docs/conformance-models.md
to what it finds; with UPDATE_DOCS=1 in the environment it writes the table.
"""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from tests.student.families import (
    FAMILIES,
    SEEING_FAMILIES,
    TEXT_FAMILIES,
    VARIANTS,
    VOCABULARY,
    save_family,
)
from tutelage.models.folder import find_folder
from tutelage.student import StudentSettings
from tutelage.student.components import open_engine
from tutelage.student.passages import passage_of

TABLE = Path(__file__).parents[2] / "docs" / "conformance-models.md"
LENGTHS = (90, 3, 47, 8, 2, 21)
"""In tokens: from the shortest that can be read to several attention windows."""
LARGEST_ID = 390
"""Above are the tokens that stand for pictures."""
FLOAT32_NATS = 5e-4
BFLOAT16_NATS = 0.03
FAST = (
    "bert",
    "cohere, scaled logits",
    "gemma2, low soft caps",
    "gpt2",
    "llama",
    "llama, dynamic rope",
    "mamba",
    "mistral",
    "mistral3",
    "phi3, longrope",
    "qwen2_5_vl",
)
"""Those that are read in the normal suite: one for each way of reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was found for one family.

    Attributes:
        engines: By backend: the engine that read it.
        batches: Whether the transformers engine reads several rows together.
        float32: By backend: the largest difference of a row's mean, in nats.
        bfloat16: The same to the plain loop in float32.
        own: The plain loop's own difference in bfloat16 to itself in float32.
    """

    engines: dict[str, str]
    batches: bool
    float32: dict[str, float]
    bfloat16: dict[str, float]
    own: float


def rows() -> list[Any]:
    drawn = np.random.default_rng(0)
    found = []
    for length in LENGTHS:
        ids = drawn.integers(3, LARGEST_ID, size=length).tolist()
        found.append(passage_of(ids[: max(1, length // 2)], ids[max(1, length // 2) :]))
    return found


def plain_loop(kind: Any, folder: Path, dtype: str) -> np.ndarray:
    import torch

    means = []
    for passage in rows():
        # Loaded anew for each row: some rotary embeddings remember the longest row they saw.
        remembers = "dynamic" in str(folder)
        if not means or remembers:
            model = kind.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
        ids = torch.from_numpy(passage.ids_T.astype(np.int64))[None]
        with torch.no_grad():
            logprobs = model(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
        chosen = logprobs.gather(1, ids[0, 1:, None])[passage.target_start - 1 :]
        means.append(-float(chosen.mean()))
    return np.array(means)


def engine_means(folder: Path, dtype: str, backend: str) -> tuple[np.ndarray, Any, bool]:
    settings = StudentSettings(model=str(folder), backend=backend, dtype=dtype)
    engine = open_engine(find_folder(settings), settings, device="cpu", dtype=dtype)
    passages, means = rows(), np.zeros(len(LENGTHS))
    plan = engine.plan(passages)
    assert sorted(index for batch in plan for index in batch) == list(range(len(passages)))
    for batch in plan:
        for index, measured in zip(
            batch, engine.read([passages[i] for i in batch], full=True), strict=True
        ):
            means[index] = -measured.logprobs_T.mean(dtype=np.float64)
    return means, engine.name, len(plan) < len(passages)


@cache
def result(family: str) -> Result:
    with TemporaryDirectory(prefix=family.replace(" ", "-").replace(",", "")) as scratch:
        folder = Path(scratch)
        kind = save_family(folder, family)
        exact = plain_loop(kind, folder, "float32")
        rough = plain_loop(kind, folder, "bfloat16")
        engines: dict[str, str] = {}
        off: dict[str, dict[str, float]] = {"float32": {}, "bfloat16": {}}
        batches = False
        for backend in ("auto", "transformers"):
            for dtype, found in off.items():
                means, engines[backend], batches = engine_means(folder, dtype, backend)
                found[backend] = float(np.abs(means - exact).max())
    return Result(
        engines=engines,
        batches=batches,
        float32=off["float32"],
        bfloat16=off["bfloat16"],
        own=float(np.abs(rough - exact).max()),
    )


def check(family: str) -> None:
    found = result(family)
    for backend in ("auto", "transformers"):
        assert found.float32[backend] <= FLOAT32_NATS, (backend, found)
        assert found.bfloat16[backend] <= max(BFLOAT16_NATS, 2 * found.own), (backend, found)


@pytest.mark.parametrize("family", FAST)
def test_a_family_of_each_kind_is_read_as_the_plain_loop_reads_it(family):
    check(family)


@pytest.mark.conformance
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_read_as_the_plain_loop_reads_it(family):
    check(family)


def test_there_are_as_many_families_as_the_docs_say():
    assert len(TEXT_FAMILIES) == len(set(TEXT_FAMILIES))
    assert len(TEXT_FAMILIES) >= 60
    assert set(FAST) <= set(FAMILIES)
    listed = [
        line.split("|")[1].strip(" `") for line in table_lines(TABLE.read_text(encoding="utf-8"))
    ]
    assert listed == list(FAMILIES)


@pytest.mark.conformance
def test_the_table_in_the_docs_is_what_is_found():
    written = page()
    if os.environ.get("UPDATE_DOCS"):
        TABLE.write_text(written, encoding="utf-8")
    # Numbers differ in their last bits between machines; what is read how does not.
    kept = [line.split("|")[:4] for line in table_lines(TABLE.read_text(encoding="utf-8"))]
    assert kept == [line.split("|")[:4] for line in table_lines(written)]


def table_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| `")]


HEAD = """\
# Model families

This page lists the model families that are tested as students: {text} families of causal language models, {variants} variants
of them and {seeing} families of vision-language models. Each model is created tiny with random weights from its transformers
config, saved, and loaded from its folder by both engines. `make conformance` writes this page.

The reference is a plain loop: transformers' own forward pass on one row at a time, `log_softmax` in float64. Each family
is scored with rows of {lengths} tokens in one batch; attention windows, if the family has any, are 16 tokens. The
limits are 5e-4 nats for the mean of a row in float32, and 0.03 nats in bfloat16 or twice the plain loop's own error in
bfloat16, whichever is larger.

| family | engine by default | rows of a batch | largest error, float32 | bfloat16 | plain loop's own, bfloat16 |
|---|---|---|---|---|---|
"""  # noqa: E501  (a paragraph of the docs)


def page() -> str:
    lines = []
    for family in FAMILIES:
        found = result(family)
        together = "read together" if found.batches else "one by one"
        if found.engines["auto"] == "packed":
            together = "share prefixes"
        lines.append(
            f"| `{family}` | {found.engines['auto']} | {together} "
            f"| {max(found.float32.values()):.0e} | {max(found.bfloat16.values()):.3f} "
            f"| {found.own:.3f} |"
        )
    head = HEAD.format(
        text=len(TEXT_FAMILIES),
        variants=len(VARIANTS),
        seeing=len(SEEING_FAMILIES),
        lengths=", ".join(map(str, LENGTHS)),
    )
    return head + "\n".join(lines) + "\n"


def test_the_vocabulary_of_the_tiny_models_holds_the_rows():
    assert max(int(row.ids_T.max()) for row in rows()) < LARGEST_ID < VOCABULARY
