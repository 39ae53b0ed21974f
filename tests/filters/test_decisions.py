import numpy as np
import pytest

from tutelage.errors import DataError
from tutelage.filters.candidates import Verdicts


def _verdicts(values, known):
    return Verdicts(
        kept_N=np.array([True] * len(values)),
        reasons_N=["in_band"] * len(values),
        values_N=np.array(values),
        known_N=np.array(known),
        details_N=[None] * len(values),
    )


def test_an_unknown_value_is_null_and_not_a_number():
    table = _verdicts([1.0, 0.0], [True, False]).to_table(["a", "b"])
    assert table["value"].to_pylist() == [1.0, None]


def test_a_known_value_that_is_not_finite_is_refused():
    with pytest.raises(DataError, match="not finite"):
        _verdicts([np.nan], [True]).to_table(["a"])


def test_a_filter_that_lost_a_row_is_refused():
    with pytest.raises(DataError, match="differ in length"):
        _verdicts([1.0], [True]).to_table(["a", "b"])
