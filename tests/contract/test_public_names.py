"""The names that `import tutelage` promises."""

import tutelage

NAMES = [
    "Candidate",
    "Example",
    "Message",
    "Result",
    "Row",
    "Run",
    "Student",
    "TutelageError",
    "__version__",
    "agreement",
    "audit",
    "delta",
    "demo",
    "doctor",
    "drift",
    "evaluate",
    "explain",
    "export",
    "extension",
    "filter",
    "frontier",
    "init",
    "list_metrics",
    "load",
    "prove",
    "rank_sources",
    "rank_teachers",
    "read",
    "recompute",
    "refine",
    "report",
    "rounds",
    "run",
    "sample",
    "score",
    "select",
    "train",
    "verify",
    "view",
]


def test_the_public_names_are_these() -> None:
    assert sorted(tutelage.__all__) == NAMES


def test_every_public_name_can_be_used() -> None:
    assert all(getattr(tutelage, name) is not None for name in NAMES)
