"""Teachers: clients of language models, with cached replies, retries, rate limit and budget."""

from tutelage.teacher.caching import JournaledTeacher, ReplayTeacher
from tutelage.teacher.config import Prices, TeacherSettings
from tutelage.teacher.cost import Account, CachedTeacher, Estimate, Tally
from tutelage.teacher.endpoint_probe import Abilities
from tutelage.teacher.factory import open_teacher
from tutelage.teacher.fakes import ScriptedTeacher
from tutelage.teacher.journal import Journal
from tutelage.teacher.journal_file import Entry
from tutelage.teacher.local import LocalTeacher
from tutelage.teacher.openai_client import OPENAI_URL, OpenAITeacher
from tutelage.teacher.openai_format import UNKNOWN, ending_of
from tutelage.teacher.protocol import Reply, Request, Teacher

__all__ = [
    "OPENAI_URL",
    "UNKNOWN",
    "Abilities",
    "Account",
    "CachedTeacher",
    "Entry",
    "Estimate",
    "Journal",
    "JournaledTeacher",
    "LocalTeacher",
    "OpenAITeacher",
    "Prices",
    "ReplayTeacher",
    "Reply",
    "Request",
    "ScriptedTeacher",
    "Tally",
    "Teacher",
    "TeacherSettings",
    "ending_of",
    "open_teacher",
]
