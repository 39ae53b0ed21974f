"""The settings of a verification."""

import pytest
from pydantic import ValidationError

from tutelage.verification.config import VerifySettings


@pytest.mark.parametrize(
    "wrong",
    [{"check": "vibes"}, {"processes": 0}, {"time_limit_seconds": 0}, {"chekc": "maths"}],
)
def test_a_wrong_setting_is_refused(wrong):
    with pytest.raises(ValidationError):
        VerifySettings(**wrong)


def test_isolation_is_the_default():
    assert VerifySettings().allow_weak_sandbox is False
