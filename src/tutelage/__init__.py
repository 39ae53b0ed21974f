"""Data selection for fine-tuning, by the likelihoods of the model that will be trained.

    import tutelage as tt

    scores = tt.score("data.jsonl", "smollm2-135m", metrics=["ifd", "r_ifd", "rsr"])
    chosen = tt.select(scores)
    train_set = tt.export(chosen, "trl").to_dataset()

Each command of the command line is one function of the same name. Data may be a path, a list of
dicts, a pyarrow table, a `datasets.Dataset`, or a pandas or polars frame; results hold an Arrow
table with what was kept, what was dropped and why.

Names are loaded when they are first used, so that `import tutelage` is quick.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tutelage.version import __version__

if TYPE_CHECKING:
    from tutelage.api import (
        Result,
        Run,
        agreement,
        audit,
        delta,
        demo,
        doctor,
        drift,
        evaluate,
        explain,
        export,
        filter,  # noqa: A004  (the name of the command)
        frontier,
        init,
        list_metrics,
        load,
        prove,
        rank_sources,
        rank_teachers,
        read,
        recompute,
        refine,
        report,
        rounds,
        run,
        sample,
        score,
        select,
        train,
        verify,
        view,
    )
    from tutelage.data import Candidate, Example, Message, Row
    from tutelage.data.extensions import extension
    from tutelage.errors import TutelageError
    from tutelage.pipeline import Student


__all__ = [
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

_ELSEWHERE = {
    "Candidate": "tutelage.data",
    "Example": "tutelage.data",
    "Message": "tutelage.data",
    "Row": "tutelage.data",
    "Student": "tutelage.pipeline",
    "TutelageError": "tutelage.errors",
    "extension": "tutelage.data.extensions",
}
"""Public names outside `tutelage.api`."""


class _Package(ModuleType):
    """Module type of this package: no import of a subpackage can replace a public function.

    Python binds a subpackage to its name in the parent package when it is first imported:
    `import tutelage.reporting` would put a module in the place of the function `report`.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and name in __all__:
            return
        super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'tutelage' has no attribute {name!r}")
    found = getattr(import_module(_ELSEWHERE.get(name, "tutelage.api")), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


sys.modules[__name__].__class__ = _Package
