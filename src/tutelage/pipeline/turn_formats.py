"""Turn formats of trainers: tool calls, thinking and turns without training."""

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from tutelage.data.thinking import join_thinking
from tutelage.errors import DataError

Turn = dict[str, Any]

FUNCTION_CALL, OBSERVATION = "function_call", "observation"
"""LLaMA-Factory's roles of a turn with tool calls and of a turn with their results."""
LLAMAFACTORY_TAGS: Mapping[str, str] = MappingProxyType(
    {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "observation_tag": OBSERVATION,
        "function_tag": FUNCTION_CALL,
        "system_tag": "system",
    }
)
"""Tags by which LLaMA-Factory finds the keys and roles of our turns."""


def openai_turns(
    turns: Iterable[Mapping[str, Any]], *, untrained: Turn | None = None
) -> list[Turn]:
    """Turns for chat templates: calls as objects, thinking as `reasoning_content`.

    Args:
        turns: Rows of the `MESSAGES` type without the fields they do not have.
        untrained: What marks a turn that is never trained on; without it, OpenAI's `weight: 0`.
    """
    found = []
    for turn in turns:
        plain: Turn = {"role": turn["role"], "content": turn["content"]}
        if turn.get("reasoning") is not None:
            plain["reasoning_content"] = turn["reasoning"]
        if turn.get("tool_calls") is not None:
            plain["tool_calls"] = json.loads(turn["tool_calls"])
        plain |= {n: turn[n] for n in ("tool_call_id", "name") if turn.get(n) is not None}
        if turn.get("trained") is False:
            plain |= {"weight": 0} if untrained is None else untrained
        found.append(plain)
    return found


def flat_turns(
    turns: Iterable[Mapping[str, Any]],
    *,
    role: str,
    content: str,
    names: Mapping[str, str],
    example: object,
) -> list[Turn]:
    """Turns with one role and text each, as ShareGPT and LLaMA-Factory have them.

    Thinking precedes the text; tool calls are a separate kind of turn.

    Args:
        turns: Rows of the `MESSAGES` type without the fields they do not have.
        role: The name of the field with the role.
        content: The name of the field with the text.
        names: How each of our roles is called there.
        example: The example's id, for the error.

    Raises:
        DataError: A turn says something and calls tools, which one turn cannot hold there.
    """
    found = []
    for turn in turns:
        text = join_thinking(turn.get("reasoning"), turn["content"])
        if turn.get("tool_calls") is None:
            found.append({role: names[turn["role"]], content: text})
            continue
        if turn["content"].strip():
            raise DataError(
                f"example {example}: a turn contains both text and tool calls, which this "
                "format does not support",
                hint="--to trl, --to messages and --to axolotl support any conversation",
            )
        calls = [call["function"] for call in json.loads(turn["tool_calls"])]
        written = json.dumps(calls[0] if len(calls) == 1 else calls, ensure_ascii=False)
        text = join_thinking(turn.get("reasoning"), written)
        found.append({role: names[FUNCTION_CALL], content: text})
    return found


def tools_list(row: Mapping[str, Any]) -> list[Any] | None:
    """Tools of a row as objects; None without any."""
    return json.loads(row["tools"]) if row.get("tools") else None


OF_LLAMAFACTORY = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "tool": OBSERVATION,
    FUNCTION_CALL: FUNCTION_CALL,
}
"""Roles of LLaMA-Factory by our own."""
OF_SHAREGPT = {**OF_LLAMAFACTORY, "user": "human", "assistant": "gpt"}
"""Roles of ShareGPT by our own."""


def llamafactory_turns(messages: Iterable[Mapping[str, Any]], *, example: object) -> list[Turn]:
    """Turns for LLaMA-Factory, with the fields `role` and `content`."""
    return flat_turns(
        messages, role="role", content="content", names=OF_LLAMAFACTORY, example=example
    )
