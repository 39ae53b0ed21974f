"""Which attention reads which line; the cards are pretended."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers import utils

from tutelage.student.engine_transformers import FLASH, FLEX, Kernels
from tutelage.student.packed_layout import lay_out
from tutelage.student.passages import passage_of

SHARED = lay_out([passage_of(list(range(40)), [n, n + 1]) for n in range(3)])
APART = lay_out([passage_of([n], list(range(9))) for n in range(3)])


class Model(SimpleNamespace):
    """As much of a model as is asked for; notes which attention is set."""

    def set_attn_implementation(self, name: str) -> None:
        self.used.append(name)


def model(device: str = "cuda", *, size: int = 2, flex: bool = True) -> Any:
    return Model(
        device=SimpleNamespace(type=device),
        dtype=SimpleNamespace(itemsize=size),
        config=SimpleNamespace(_attn_implementation="sdpa"),
        _supports_flex_attn=flex,
        _supports_flash_attn=True,
        used=[],
    )


@pytest.fixture(params=[True, False])
def flash(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(utils, "is_torch_flex_attn_available", lambda: True)
    monkeypatch.setattr(utils, "is_flash_attn_2_available", lambda: request.param)
    return bool(request.param)


def test_lines_that_share_nothing_use_flash_attention_where_it_is_installed(*, flash: bool) -> None:
    kernels = Kernels(model())
    assert kernels.kernel(SHARED) == FLEX
    assert kernels.kernel(APART) == (FLASH if flash else FLEX)
    assert kernels.skip_blocks


@pytest.mark.parametrize(
    ("given", "apart"),
    [({"device": "cpu"}, "sdpa"), ({"flex": False}, "sdpa"), ({"size": 4}, FLEX)],
)
def test_a_model_or_a_device_without_it_keeps_its_own(
    given: dict[str, Any], apart: str, *, flash: bool
) -> None:
    assert Kernels(model(**given)).kernel(APART) == apart


def test_the_models_own_attention_is_set_again(*, flash: bool) -> None:
    fake = model()
    kernels = Kernels(fake)
    with kernels.of(SHARED) as name:
        assert fake.used == [name] == [FLEX]
    assert fake.used == [FLEX, "sdpa"]
    kernels.use_dense_masks()
    with kernels.of(SHARED) as name:
        assert name == "sdpa"
    assert fake.used == [FLEX, "sdpa"]


def test_lines_are_filled_up_to_whole_blocks(*, flash: bool) -> None:
    padded = Kernels(model()).padded(SHARED)
    assert len(padded.ids_N) == len(padded.positions_N) == 128
    assert np.array_equal(padded.ids_N[: len(SHARED.ids_N)], SHARED.ids_N)
    assert padded.strands == SHARED.strands
    assert Kernels(model("cpu")).padded(SHARED) is SHARED
