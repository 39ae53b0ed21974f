"""Tests of repeating a recording."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tutelage.errors import JournalError, NotInJournalError
from tutelage.teacher import (
    Journal,
    JournaledTeacher,
    Request,
    ScriptedTeacher,
    TeacherSettings,
    open_teacher,
)


def test_a_recording_is_repeated_from_a_file_that_cannot_be_written(
    tmp_path: Path, request_for: Callable[..., Request]
) -> None:
    settings = TeacherSettings(kind="replay", model="m")
    with Journal(tmp_path / "journal.sqlite") as journal:
        teacher = JournaledTeacher(ScriptedTeacher("yes", name="m"), journal)
        asyncio.run(teacher.ask(request_for()))
        journal.pack(tmp_path / "packed.sqlite")
    with Journal(tmp_path / "packed.sqlite", read_only=True) as journal:
        teacher = open_teacher(settings, journal)
        reply = asyncio.run(teacher.ask(request_for()))
        assert (reply.text, reply.from_journal) == ("yes", True)
        with pytest.raises(NotInJournalError, match=request_for("new").key) as caught:
            asyncio.run(teacher.ask(request_for("new")))
        assert "kind" in (caught.value.hint or "")
        assert teacher.tally.failures == {"NotInJournalError": 1}
        assert (teacher.tally.from_journal, teacher.tally.failed) == (1, 1)


def test_a_teacher_that_is_paid_needs_a_journal_that_can_be_written(tmp_path: Path) -> None:
    Journal(tmp_path / "journal.sqlite").close()
    settings = TeacherSettings(model="m", base_url="http://127.0.0.1:1/v1")
    with (
        Journal(tmp_path / "journal.sqlite", read_only=True) as journal,
        pytest.raises(JournalError, match="only read"),
    ):
        open_teacher(settings, journal)
