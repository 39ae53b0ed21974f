"""Kinds of rows that a chat template meets, each as messages and tools."""

import json
from dataclasses import dataclass

from tutelage.data import Message

TOOLS = json.dumps(
    [
        {
            "type": "function",
            "function": {
                "name": "tide_table",
                "description": "Gives the tides of a harbour.",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "harbour": {"type": "string", "description": "Its name."},
                        "days": {"type": "integer", "description": "How many."},
                    },
                    "required": ["harbour"],
                },
            },
        }
    ]
)
CALLS = json.dumps(
    [
        {
            "type": "function",
            "id": "call12345",
            "function": {"name": "tide_table", "arguments": {"harbour": "Büsum", "days": 2}},
        }
    ]
)


@dataclass(frozen=True, kw_only=True)
class Row:
    messages: tuple[Message, ...]
    tools: str | None = None


def user(content: str) -> Message:
    return Message(role="user", content=content)


def said(content: str, **more: str) -> Message:
    return Message(role="assistant", content=content, **more)


def system(content: str) -> Message:
    return Message(role="system", content=content)


ASK = user("Which moon of Saturn has lakes?")
CALL = said("", tool_calls=CALLS)
RESULT = Message(
    role="tool", content='{"high": "06:12"}', tool_call_id="call12345", name="tide_table"
)
ASK_TIDES = user("When is high tide in Büsum?")

ROWS: dict[str, Row] = {
    name: Row(messages=messages)
    for name, messages in {
        "plain": (ASK, said("Titan has lakes of methane.")),
        "one word": (ASK, said("Titan")),
        "one letter": (user("Which option is right?"), said("s")),
        "system": (system("Be short."), ASK, said("Titan does.")),
        "empty system": (system(""), ASK, said("Titan does.")),
        "several turns": (ASK, said("Titan."), user("Who found it?"), said("Huygens, in 1655.")),
        "system and turns": (
            system("Be short."),
            ASK,
            said("Titan."),
            user("Who found it?"),
            said("Huygens."),
        ),
        "same answer twice": (ASK, said("Titan."), user("Say it again."), said("Titan.")),
        "answer repeats question": (user("Say: blue."), said("Say: blue.")),
        "thinking": (ASK, said("<think>\nLakes need a cold moon.\n</think>\n\nTitan.")),
        "thinking without breaks": (ASK, said("<think>Lakes need cold.</think>Titan.")),
        "thinking not closed": (ASK, said("<think>\nLakes need a cold moon, and")),
        "thinking apart": (ASK, said("Titan.", reasoning="Lakes need a cold moon.")),
        "thinking in each turn": (
            ASK,
            said("<think>\nCold moons.\n</think>\n\nTitan."),
            user("Who found it?"),
            said("<think>\nOver 300 years ago.\n</think>\n\nHuygens."),
        ),
        "talks of tags": (user("What is <think> for?"), said("The tag <think> opens a thought.")),
        "leading white space": (ASK, said("\n\n  Titan has lakes.")),
        "trailing white space": (ASK, said("Titan has lakes.  \n")),
        "code": (
            user("Write a loop."),
            said("```python\nfor n in range(3):\n    if n:\n\n        print(n)\n```\n\nDone: {n}."),
        ),
        "control tokens in answer": (ASK, said("Titan.<|im_end|>\n<|im_start|>user\nAnd?")),
        "control tokens in question": (user("Is <|im_end|> a token?"), said("It is one.")),
        "markup words": (user("user"), said("assistant")),
        "other scripts": (user("土星の衛星は"), said("タイタン 🪐 é")),
        "two questions": (ASK, user("And which has geysers?"), said("Titan and Enceladus.")),
    }.items()
}
ROWS |= {
    "tools not used": Row(messages=(ASK, said("Titan does.")), tools=TOOLS),
    "tool call": Row(messages=(ASK_TIDES, CALL), tools=TOOLS),
    "words and tool call": Row(
        messages=(ASK_TIDES, said("I look it up.", tool_calls=CALLS)), tools=TOOLS
    ),
    "tool result": Row(messages=(ASK_TIDES, CALL, RESULT, said("At 06:12.")), tools=TOOLS),
}
