"""Rows that call tools: which steps they allow, and what a teacher is shown of them."""

from tutelage.data import INSTRUCTION_REFLECTION, Candidate, Message
from tutelage.data.turn_text import turn_text
from tutelage.refinement import statuses
from tutelage.refinement.reply_parser import Fault


def fault_of_tools(parent: Candidate, *, step: str) -> Fault | None:
    """Why a step cannot be done on a row with calls of tools; None where it can."""
    if parent.messages[-1].tool_calls is not None:
        detail = "the response calls a tool; only text is rewritten"
    elif step == INSTRUCTION_REFLECTION and parent.context[-1].role != "user":
        detail = "calls of tools answer the old instruction and would not fit a new one"
    else:
        return None
    return Fault(status=statuses.USES_TOOLS, detail=detail)


def earlier_turns(parent: Candidate) -> tuple[Message, ...]:
    """What the teacher is shown in front of the pair.

    Where tools were called between instruction and response, all of it, with the instruction.
    """
    context = parent.context
    shown = context[:-1] if context[-1].role == "user" else context
    return tuple(Message(role=turn.role, content=turn_text(turn)) for turn in shown)
