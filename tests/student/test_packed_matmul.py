"""A packed weight gives the products of the plain one."""

import pytest
import torch

from tutelage.student.packed_layout import product


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
