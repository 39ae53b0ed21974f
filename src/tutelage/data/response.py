"""The response of a conversation, and everything in front of it."""

from dataclasses import dataclass

from tutelage.data.example import Message
from tutelage.data.field_values import UnreadableRowError


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A conversation taken apart.

    Attributes:
        context: Everything in front of the response.
        response: The assistant turn at the end; None where another turn stands there. Where no
            assistant turn may be trained on, it is the last one, and says so.
        behind: Turns behind the last assistant turn that may be trained on; no trainer's loss
            depends on them.
    """

    context: tuple[Message, ...]
    response: Message | None
    behind: tuple[Message, ...] = ()


def split_response(turns: tuple[Message, ...], *, name: str) -> Split:
    """Split a conversation into its context and its response.

    Raises:
        UnreadableRowError: `no_user_turn`, or `unexpected_turns` where something other than
            calls of tools, what they returned, and one answer follows the last user turn.
    """
    last_user = max((i for i, turn in enumerate(turns) if turn.role == "user"), default=None)
    if last_user is None:
        raise UnreadableRowError("no_user_turn", f"field {name!r} has {_roles(turns)}")
    for before, turn in zip(turns[last_user:], turns[last_user + 1 :], strict=False):
        two_answers = before.role == turn.role == "assistant" and not (
            before.tool_calls or turn.tool_calls
        )
        if turn.role == "system" or (two_answers and before.trained and turn.trained):
            raise UnreadableRowError(
                "unexpected_turns",
                f"field {name!r} should end with one assistant turn, has {_roles(turns)}",
            )
    if turns[-1].role != "assistant":
        return Split(context=turns, response=None)
    for end in range(len(turns), 0, -1):
        turn = turns[end - 1]
        if turn.role == "assistant" and turn.trained:
            if any(earlier.role == "user" for earlier in turns[: end - 1]):
                return Split(context=turns[: end - 1], response=turn, behind=turns[end:])
            break
    return Split(context=turns[:-1], response=turns[-1])


def _roles(turns: tuple[Message, ...]) -> str:
    if not turns:
        return "no turns"
    shown_roles = ", ".join(turn.role for turn in turns[-6:])
    ellipsis = "..., " if len(turns) > 6 else ""  # noqa: PLR2004
    return f"the roles {ellipsis}{shown_roles}"
