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

from typing import ClassVar, Self


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
