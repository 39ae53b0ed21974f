"""Settings that contradict each other are refused together."""

import pytest
from pydantic import ValidationError

from tutelage.selection import SelectSettings


def test_the_defaults_are_the_safe_student_rule():
    settings = SelectSettings()
    assert (settings.rule, settings.mode, settings.margin, settings.seed) == ("srt", "safe", 0, 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rule": "ifd_top"}, "needs keep_fraction, keep_count or quotas"),
        ({"rule": "longest", "keep_fraction": 0.5, "keep_count": 2}, "not both"),
        ({"margin": -0.1}, "margin"),
        ({"margin": float("nan")}, "margin"),
        ({"keep_fraction": 0.0}, "keep_fraction"),
        ({"keep_count": 0}, "keep_count"),
        ({"rule": "best"}, "rule"),
        ({"threshold": 1}, "threshold"),
    ],
)
def test_what_makes_no_sense_is_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        SelectSettings(**values)
