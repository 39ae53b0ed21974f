"""Steps of a decoder in C and with packed weights give the results of plain torch."""

import pytest
import torch

from tutelage.student.decoder_steps import Norm, Scores
from tutelage.student.native_kernels import NativeOps, load_native
from tutelage.student.packed_layout import product

SCALE = 0.125


@pytest.fixture(scope="module")
def native() -> NativeOps:
    found = load_native(dtype="bfloat16", threads=2)
    if found is None:
        pytest.skip("needs a C compiler")
    assert isinstance(found, NativeOps)
    return found


def scores(queries: int, keys: int, *, group: int = 3, spread: float = 20.0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(keys)
    return (torch.randn(2, queries * group, keys, generator=draw) * spread).bfloat16()


def allowed(positions: list[int]) -> Scores:
    return Scores(positions_B_Q=torch.tensor([positions]), kv_heads=2, masks={})


def expected(
    scores_R_S: torch.Tensor, positions: list[int], *, window: int | None, group: int = 3
) -> torch.Tensor:
    keys = torch.arange(scores_R_S.shape[-1])
    last_Q = torch.tensor(positions).repeat_interleave(group)[:, None]
    hidden_Q_S = keys > last_Q
    if window is not None:
        hidden_Q_S |= last_Q - keys >= window
    shown = (scores_R_S.double() * SCALE).masked_fill(hidden_Q_S, -torch.inf)
    return shown.softmax(dim=-1)


@pytest.mark.parametrize(
    ("keys", "window", "spread"),
    [(9, None, 20.0), (700, None, 20.0), (700, 64, 20.0), (5000, None, 5.0), (50, None, 4000.0)],
)
def test_attention_weights_are_a_softmax_of_what_a_query_may_see(
    native: NativeOps, keys: int, window: int | None, spread: float
) -> None:
    positions = list(range(keys - 8, keys))
    before = scores(8, keys, spread=spread)
    found = native.softmax(before.clone(), allowed(positions), window=window, scale=SCALE)
    wanted = expected(before, positions, window=window)
    torch.testing.assert_close(found.double(), wanted, rtol=2**-8, atol=1e-30)
    assert (found[..., -1] == 0)[:, :-3].all(), "the last key is hidden from all but the last query"


def test_a_score_that_is_no_number_spoils_its_own_row_alone(native: NativeOps) -> None:
    before = scores(8, 40)
    before[0, 4, 3] = torch.nan
    found = native.softmax(before, allowed(list(range(32, 40))), window=None, scale=SCALE)
    spoilt = found.isnan().any(dim=-1)
    assert spoilt.nonzero().tolist() == [[0, 4]]


@pytest.mark.parametrize("bits", [0x7F81, 0x7FFF, 0xFF81, 0xFFFF])
def test_no_kind_of_nan_is_lost_in_rounding(native: NativeOps, bits: int) -> None:
    states = torch.ones(2, 8, dtype=torch.bfloat16)
    states.view(torch.uint16)[0, 5] = bits
    norm = Norm(module=None, weight_H=torch.ones(8), eps=1e-6, late=True)
    found = native.norm(states, norm)
    assert found[0].isnan().all()
    assert not found[1].isnan().any()
    gated = native.gate(states, "silu", None)
    assert gated[0, 1].isnan()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 7, 1500])
@pytest.mark.parametrize("with_bias", [False, True])
def test_a_prepared_product_is_the_plain_one(
    dtype: torch.dtype, rows: int, *, with_bias: bool
) -> None:
    draw = torch.Generator().manual_seed(rows)
    rows_N_I = torch.randn(rows, 48, generator=draw).to(dtype)
    weight_O_I = torch.randn(80, 48, generator=draw).to(dtype)
    bias_O = torch.randn(80, generator=draw).to(dtype) if with_bias else None
    with torch.inference_mode():
        found = product(weight_O_I, bias_O)(rows_N_I)
        expected = torch.nn.functional.linear(rows_N_I, weight_O_I, bias_O)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=1e-2 if bias_O is None else 5e-2)


def test_a_large_weight_that_lives_on_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tutelage.student.packed_layout._LARGEST_COPY_BYTES", 10)
    asked = []
    monkeypatch.setattr("tutelage.student.packed_layout._packed", asked.append)
    weight_O_I = torch.ones(4, 3, dtype=torch.bfloat16)
    assert product(weight_O_I, None, shared=True)(weight_O_I).shape == (4, 4)
    assert not asked
    product(weight_O_I, None)
    assert len(asked) == 1


def test_a_torch_without_packing_multiplies_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> bool:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", refuse)
    weight_O_I = torch.ones(4, 3, dtype=torch.bfloat16)
    assert product(weight_O_I, None)(weight_O_I).tolist() == [[3.0] * 4] * 4
