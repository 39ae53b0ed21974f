"""Exceptions that this package raises on purpose.

    TutelageError
    ├── DataError (ValueError)          a row, a file or a table is not what it should be
    │   └── SpanMismatchError           the two sides of a ratio count different tokens
    ├── SettingsError (ValueError)      a setting or a flag is wrong
    ├── MissingExtraError (ImportError) a library that an extra installs is not there
    ├── RunError (RuntimeError)         a run folder cannot be used as asked
    │   └── JournalError                the journal of teacher replies cannot be read or written
    ├── StudentError (RuntimeError)     the student cannot be loaded or read
    ├── TeacherStoppedError (RuntimeError)  every call fails alike, so no more are made
    └── TeacherError (RuntimeError)     the teacher could not be asked, or answered unusably
        ├── TeacherBusyError            rate-limited or overloaded; asked again later
        ├── TeacherUnreachableError     no connection, a time-out, a 5xx; asked again later
        ├── UnusableReplyError          answered, and perhaps paid for, but without text
        ├── BatchPendingError           the reply comes with a batch that is not collected yet
        ├── BatchFailedError            a batch ended without a reply to this request
        ├── NotInJournalError           a replay was asked for what was never recorded
        └── BudgetError                 the cap on cost would be passed

The message names the value and the place; the hint names the next step and also shows in
tracebacks. The command line prints both in two lines; anything else is a bug and keeps its
traceback.
"""

import re
import shlex
from collections.abc import Mapping
from functools import wraps
from types import FunctionType
from typing import Any, ClassVar, Self, TypeVar, cast

T = TypeVar("T")


class TutelageError(Exception):
    """Base of all errors raised on purpose.

    Args:
        message: What is wrong, with the value and the place.
        hint: The next step, for the person who reads it.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        if hint is not None:
            self.add_note(f"hint: {hint}")

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), str(self), self.hint))

    @classmethod
    def _of(cls, message: str, hint: str | None) -> Self:
        return cls(message, hint=hint)


def _rebuild(kind: type[TutelageError], message: str, hint: str | None) -> TutelageError:
    return kind._of(message, hint)  # noqa: SLF001  (pickle support of this very tree)


class DataError(TutelageError, ValueError):
    """A row, a file or a table is invalid."""


class SpanMismatchError(DataError):
    """The two sides of a ratio count different tokens."""


class SettingsError(TutelageError, ValueError):
    """A setting or a command-line option is invalid."""


class MissingExtraError(TutelageError, ImportError):
    """A library that belongs to an extra is not installed."""


class RunError(TutelageError, RuntimeError):
    """A run folder cannot be used as requested."""


class JournalError(RunError):
    """The teacher cache (journal) cannot be read or written; no further call is made."""


class StudentError(TutelageError, RuntimeError):
    """The student cannot be loaded or cannot read the data."""


class DivergedError(StudentError):
    """A training diverged to NaN or infinite values; nothing of it is kept."""


class TeacherStoppedError(TutelageError, RuntimeError):
    """Every call fails for the same reason, so no more are made.

    Not a `TeacherError` on purpose: it is about the whole run, not about one example.

    Attributes:
        may_pass: The cause may pass by itself: a server that is away, not a key that is wrong.
    """

    may_pass: bool = False


class TeacherError(TutelageError, RuntimeError):
    """A call to the teacher failed or gave an unusable reply."""

    retryable: ClassVar[bool] = False


class TeacherBusyError(TeacherError):
    """The teacher is rate-limited or overloaded."""

    retryable: ClassVar[bool] = True


class TeacherUnreachableError(TeacherError):
    """No connection, no answer in time, or a failure on the server's side."""

    retryable: ClassVar[bool] = True


class UnusableReplyError(TeacherError):
    """The teacher replied, perhaps at a cost, but without usable text.

    Attributes:
        finish_reason: As the server said.
        prompt_tokens: As counted by the server, or None where it did not say.
        completion_tokens: Likewise.
        seconds: From sending the request to having the answer.
        reasoning: What the teacher thought, where that is all it sent; None where it sent none.
    """

    finish_reason: str = "unknown"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    seconds: float = 0.0
    reasoning: str | None = None


class NotInJournalError(TeacherError):
    """A replay requested a reply that is not in the teacher cache."""


class BatchPendingError(TeacherError):
    """The reply is part of a provider's batch, which a later run collects."""


class BatchFailedError(TeacherError):
    """A provider's batch ended without a reply to this request.

    Attributes:
        ending: `expired`, `cancelled`, or `failed`.
    """

    ending: str = "failed"


class BudgetError(TeacherError):
    """The next call could exceed the limit on cost."""


# ----------------------------------------------------------------------------------------------
# Spelling for callers in Python.
#
# Messages and hints are written for the command line. Public functions raise them with the
# arguments of the Python API instead: `--as samples` becomes `shape='samples'`.
# ----------------------------------------------------------------------------------------------

KEYWORDS: Mapping[str, str] = {
    "as": "shape",
    "batch": "batch_examples",
    "keep": "keep_fraction",
    "map": "fields",
    "max-unscored": "max_unscored_fraction",
    "microbatch": "microbatch_examples",
    "push-set": "push_sets",
    "quota": "quotas",
    "refine-source": "source",
    "served-as": "asked_through",
    "set": "chosen",
    "source": "source_name",
    "student-key-env": "api_key_env",
    "student-url": "base_url",
    "task": "tasks",
    "teacher-kind": "kind",
    "template-arg": "template_args",
    "time-limit": "time_limit_seconds",
}
"""Options whose keyword in Python has another name."""

SWITCHES: Mapping[str, str] = {
    "any-teacher": "one_teacher=False",
    "ignore-filters": "use_filters=False",
    "no-browser": "browser=False",
    "no-cache": "use_cache=False",
    "overall": "per_source=False",
    "ray-address": "ray={'address': ...}",
    "worker-cpus": "ray={'worker_cpus': ...}",
    "worker-gpus": "ray={'worker_gpus': ...}",
    "workers": "ray={'workers': ...}",
}
"""Options that are a value of a keyword in Python."""

FUNCTIONS: Mapping[str, str] = {
    "metrics": "list_metrics",
    "rank agreement": "agreement",
    "rank sources": "rank_sources",
    "rank teachers": "rank_teachers",
}
"""Commands whose function has another name."""

WORDS_AS_VALUES = frozenset(
    (
        *("4bit", "bfloat16", "float16", "float32", "auto", "off", "on", "all", "exclude"),
        *("alpaca", "axolotl", "dpo", "kto", "llamafactory", "messages", "sharegpt", "trl"),
        *("calibrated", "casl", "checked", "distillation", "lark", "likelihood", "original"),
        *("local", "lora", "ray", "samples", "top_p"),
    )
)
"""Words that are a value where they follow an option, and not the next word of the sentence."""

FOREIGN = frozenset(("head", "max-model-len", "die-with-parent"))
"""Options of other programs that messages name."""

_VALUE = r"(?:[^\s=,;:`'\"]+=[^\s,;:`)?]+|[A-Z][A-Z0-9_.]*(?![a-z])|[0-9][^\s,;:`)]*|{})"
_OPTION = re.compile(
    r"(?<![\w-])--([a-z][a-z-]*)(?:[ ]"
    f"({_VALUE.format('|'.join(sorted(WORDS_AS_VALUES)))})"
    r"(?![\w-]))?"
)
_COMMAND = re.compile(r"`tutelage ((?:rank )?[a-z]+)((?: [^`]*)?)`")
_PAIRED = ("map", "task", "template-arg")
_CODE = re.compile(r"(`[^`]*`)")
_TWICE = re.compile(r"\b(\w+) \(`\1`\)")


def in_python(text: str) -> str:
    """Message or hint with the arguments of the Python API instead of command-line options.

    Examples:
        >>> in_python("2 rows have the instruction of an earlier row: read them with --as samples")
        "2 rows have the instruction of an earlier row: read them with `shape='samples'`"
        >>> in_python("name a field: --map instruction=FIELD --map response=FIELD")
        "name a field: `fields={'instruction': 'FIELD', 'response': 'FIELD'}`"
        >>> in_python("give --out a folder of its own")
        'give `out` a folder of its own'
        >>> in_python("`tutelage select RUN --quality-gate calibrated` makes one")
        "`tutelage.select(RUN, quality_gate='calibrated')` makes one"
    """
    text = text.replace("`tutelage --extensions my_ext.py`", "import the file")
    text = _COMMAND.sub(lambda found: f"`{_call(found[1], found[2])}`", text)
    parts = [
        _with_keywords(part, quote="" if part.startswith("`") else "`")
        for part in _CODE.split(text)
    ]
    return _TWICE.sub(r"`\1`", "".join(parts))


def _with_keywords(text: str, *, quote: str) -> str:
    """Text whose options are keywords; options of pairs that follow each other become one."""
    pairs: list[str] = []
    last: re.Match[str] | None = None
    said, at = "", 0
    for found in _OPTION.finditer(text):
        if found[1] in FOREIGN:
            continue
        joins = last is not None and text[last.end() : found.start()] == " "
        is_pair = found[1] in _PAIRED and "=" in (found[2] or "")
        if pairs and not (joins and is_pair and last is not None and last[1] == found[1]):
            said += f"{quote}{KEYWORDS[str(last and last[1])]}={{{', '.join(pairs)}}}{quote}"
            pairs = []
        if is_pair:
            said += "" if pairs else text[at : found.start()]
            ours, _, theirs = found[2].partition("=")
            pairs.append(f"{ours!r}: {theirs!r}")
        else:
            said += f"{text[at : found.start()]}{quote}{_keyword(found[1], found[2])}{quote}"
        last, at = found, found.end()
    if pairs:
        said += f"{quote}{KEYWORDS[str(last and last[1])]}={{{', '.join(pairs)}}}{quote}"
    return said + text[at:]


def _keyword(option: str, value: str | None) -> str:
    if option in SWITCHES:
        return SWITCHES[option]
    name = KEYWORDS.get(option, option.replace("-", "_"))
    return name if value is None else f"{name}={_literal(value)}"


def _literal(word: str) -> str:
    """Word of the command line as a literal; a placeholder such as RUN stays as it is."""
    try:
        float(word)
    except ValueError:
        return word if re.fullmatch(r"[A-Z][A-Z0-9_]*", word) else repr(word)
    return word


def _call(command: str, rest: str) -> str:
    """Call of a function in Python for a command with its arguments."""
    first, _, second = command.partition(" ")
    name = FUNCTIONS.get(command) or FUNCTIONS.get(first, first)
    try:
        words = shlex.split(rest)
    except ValueError:  # a path with a quotation mark
        words = rest.split()
    if second and command not in FUNCTIONS:
        words = [second, *words]
    arguments: list[str] = []
    pairs: dict[str, dict[str, str]] = {}
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            arguments.append(_literal(word))
            continue
        option, value = word[2:], None
        if words and not words[0].startswith("--"):
            value = words.pop(0)
        if option in _PAIRED and value is not None and "=" in value:
            ours, _, theirs = value.partition("=")
            pairs.setdefault(KEYWORDS[option], {})[ours] = theirs
        elif option in SWITCHES:
            arguments.append(SWITCHES[option])
        else:
            arguments.append(
                f"{_keyword(option, None)}={'...' if value is None else _literal(value)}"
            )
    arguments += [f"{keyword}={values}" for keyword, values in pairs.items()]
    return f"tutelage.{name}({', '.join(arguments)})"


def respell(error: TutelageError) -> None:
    """Give an error the spelling of the Python API, in place."""
    message, hint = in_python(str(error)), error.hint and in_python(error.hint)
    error.args = (message, *error.args[1:])
    if hint != error.hint:
        notes = getattr(error, "__notes__", [])
        notes[:] = [f"hint: {hint}" if note == f"hint: {error.hint}" else note for note in notes]
        error.hint = hint


def spelled_in_python(thing: T) -> T:
    """Decorator whose errors name arguments of the Python API, for a function or a class.

    Args:
        thing: A function; or a class, of which the public methods and properties are meant.
    """
    if isinstance(thing, type):
        for name, member in list(vars(thing).items()):
            if name.startswith("_") and name != "__init__":
                continue
            if isinstance(member, property) and member.fget is not None:
                setattr(thing, name, member.getter(spelled_in_python(member.fget)))
            elif isinstance(member, FunctionType):
                setattr(thing, name, spelled_in_python(member))
        return thing
    function: Any = thing

    @wraps(function)
    def called(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except TutelageError as error:
            respell(error)
            raise

    return cast("T", called)
