"""The names that `import tutelage` promises."""

import tutelage

NAMES = [
    "Candidate",
    "Example",
    "Message",
    "Row",
    "Student",
    "TutelageError",
    "__version__",
    "read",
]


def test_the_public_names_are_these() -> None:
    assert sorted(tutelage.__all__) == NAMES


def test_every_public_name_can_be_used() -> None:
    assert all(getattr(tutelage, name) is not None for name in NAMES)
