"""Construction of a teacher from its settings."""

from tutelage.errors import JournalError, TeacherError
from tutelage.teacher.batch_api import BatchTeacher
from tutelage.teacher.caching import JournaledTeacher, ReplayTeacher
from tutelage.teacher.config import TeacherSettings
from tutelage.teacher.cost import Account
from tutelage.teacher.journal import Journal
from tutelage.teacher.local import LocalTeacher
from tutelage.teacher.openai_client import (
    MOST_FILE_BYTES,
    MOST_REPLY_BYTES,
    OpenAITeacher,
    endpoint_of,
)
from tutelage.teacher.protocol import Request, Teacher


def open_teacher(
    settings: TeacherSettings,
    journal: Journal,
    *,
    run: str | None = None,
    local: Teacher | None = None,
) -> JournaledTeacher:
    """Open a teacher with its cache; no request is sent yet.

    Use it as an async context manager: entering finds out whether the endpoint obeys JSON
    schemas, where the settings leave that to `auto`; leaving closes its connections. Without
    entering, `auto` means no unless the journal remembers.

    Args:
        settings: Settings of the teacher.
        journal: Where replies are kept.
        run: A name for the run that pays, the same whenever it is started again. With it the cap
            on cost holds for the whole run, and without it for this process.
        local: Teacher used instead of a model in this process, where the kind is local.

    Raises:
        SettingsError: The key is not in the environment.
        JournalError: The journal is read-only, but this teacher would be paid.
    """
    if journal.read_only and settings.kind != "replay":
        raise JournalError(
            f"{journal.path}: replies cannot be kept in a teacher cache that is only read",
            hint="set the teacher's kind to replay, or open a teacher cache that can be written",
        )
    currency = settings.prices.currency if settings.prices else None
    spent = journal.spent(run=run, currency=currency) if run and currency else 0.0
    account = Account(prices=settings.charged, max_cost=settings.max_cost, spent_before=spent)

    async def note_retry(request: Request, error: TeacherError) -> None:
        await teacher.note_failure(request, error, again=True)

    inner: Teacher
    match settings.kind:
        case "openai":
            client = OpenAITeacher(
                settings,
                supports_schema=known_schema(settings, journal, endpoint=endpoint_of(settings)),
                on_retry=note_retry,
                most_bytes=MOST_FILE_BYTES if settings.batch else MOST_REPLY_BYTES,
            )
            waiting = journal.batches.rows(
                teacher=settings.teacher_name, endpoint=endpoint_of(settings)
            )
            inner = client
            if settings.batch or waiting:
                inner = BatchTeacher(
                    client, journal, run=run, submits=settings.batch, account=account
                )
        case "replay":
            inner = ReplayTeacher(
                name=settings.teacher_name,
                journal=journal,
                supports_schema=bool(known_schema(settings, journal)),
            )
        case "local":
            inner = LocalTeacher(settings) if local is None else local
    teacher = JournaledTeacher(
        inner,
        journal,
        account=account,
        extra=settings.extra_body or None,
        omit=settings.omit,
        run=run,
        slots=settings.concurrency,
    )
    return teacher


def known_schema(
    settings: TeacherSettings, journal: Journal, *, endpoint: str | None = None
) -> bool | None:
    """Whether a teacher follows JSON schemas, as far as this is known without a request.

    Args:
        settings: Settings of the teacher.
        journal: Remembers what was found out.
        endpoint: Where it was asked; by default wherever it was asked last.
    """
    if settings.supports_schema == "auto":
        return journal.obeys_schema(teacher=settings.teacher_name, endpoint=endpoint)
    return settings.supports_schema == "yes"
