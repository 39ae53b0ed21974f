"""Conversations that a file stores message by message, each naming the one it replies to (OASST).

    message_id  parent_id  message_tree_id  role       text
    a           null       a                prompter   Why?        part of a conversation
    b           a          a                assistant  Because.    an example: a, b
    c           b          a                prompter   And so?     part of a conversation

Every message of the assistant becomes a row of its own, with the messages in front of it. Only the
messages of the tree that is read at the moment are kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tutelage.data.field_values import UnreadableRowError

PART = "part_of_a_conversation"
"""A message that is no answer: it stands in the conversations of the answers to it."""

_FIELDS = frozenset(("message_id", "parent_id", "role", "text"))


@dataclass(slots=True)
class Trees:
    """The messages of the tree that is being read."""

    _tree: object = None
    _messages: dict[str, Mapping[str, object]] = field(default_factory=dict)

    def row_of(self, value: Mapping[str, object]) -> Mapping[str, object]:
        """A row with the whole conversation, for a row that is one message; any other row as it is.

        Raises:
            UnreadableRowError: `part_of_a_conversation`: the message is no answer.
                `missing_fields`: the message it replies to has not been read in its tree.
        """
        if not value.keys() >= _FIELDS:
            return value
        own, parent = str(value["message_id"]), value["parent_id"]
        tree = value.get("message_tree_id", self._tree if parent is not None else own)
        if tree != self._tree:
            self._tree, self._messages = tree, {}
        self._messages[own] = {
            "role": value["role"],
            "content": value["text"],
            "parent": parent,
        }
        if value["role"] != "assistant":
            raise UnreadableRowError(PART, "a question: its answers are rows of their own")
        turns: list[Mapping[str, object]] = []
        at: object = own
        while at is not None:
            message = self._messages.get(str(at))
            if message is None or len(turns) > len(self._messages):
                raise UnreadableRowError(
                    "missing_fields", f"the message {at!r} that it replies to was not read before"
                )
            turns.append({"role": message["role"], "content": message["content"]})
            at = message["parent"]
        rest = {k: v for k, v in value.items() if k not in ("role", "text")}
        return {"messages": turns[::-1], **rest}
