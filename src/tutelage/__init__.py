"""Let the student choose: which version of each example can this model learn from?

    import tutelage as tt

    student = tt.Student("smollm2-135m")
    scores = student.score(tt.read("data.jsonl"), metrics=["ifd", "r_ifd", "rsr"])

Names are loaded when they are first used, so that `import tutelage` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tutelage.version import __version__

if TYPE_CHECKING:
    from tutelage.data import Candidate, Example, Message, Row, read
    from tutelage.errors import TutelageError
    from tutelage.pipeline import Student


_ROOMS = {
    "Candidate": "tutelage.data",
    "Example": "tutelage.data",
    "Message": "tutelage.data",
    "Row": "tutelage.data",
    "Student": "tutelage.pipeline",
    "TutelageError": "tutelage.errors",
    "read": "tutelage.data",
}

__all__ = [
    "Candidate",
    "Example",
    "Message",
    "Row",
    "Student",
    "TutelageError",
    "__version__",
    "read",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'tutelage' has no attribute {name!r}")
    return getattr(import_module(_ROOMS[name]), name)
