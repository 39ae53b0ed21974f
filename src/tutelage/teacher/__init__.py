"""How do I ask, and what did I pay?"""

from tutelage.teacher.account import Account, Tally
from tutelage.teacher.ask import Reply, Request, Teacher
from tutelage.teacher.estimate import Estimate, estimate
from tutelage.teacher.finish_reasons import UNKNOWN, ending_of
from tutelage.teacher.journal import Journal
from tutelage.teacher.journal_entry import Entry
from tutelage.teacher.journaled import JournaledTeacher
from tutelage.teacher.local import LocalTeacher
from tutelage.teacher.openai_client import OPENAI_URL, OpenAITeacher
from tutelage.teacher.opening import open_teacher
from tutelage.teacher.probe import Abilities
from tutelage.teacher.replay import ReplayTeacher
from tutelage.teacher.scripted import ScriptedTeacher
from tutelage.teacher.settings import Prices, TeacherSettings

__all__ = [
    "OPENAI_URL",
    "UNKNOWN",
    "Abilities",
    "Account",
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
    "estimate",
    "open_teacher",
]
