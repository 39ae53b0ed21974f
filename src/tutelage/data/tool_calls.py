"""Tools of a row: schemas, calls, and calls written inside a text.

Whatever a row's spelling, schemas and calls become JSON text in OpenAI's shape:

    tools        [{"type": "function", "function": {"name": ..., "parameters": {...}}}]
    tool_calls   [{"type": "function", "id": ..., "function": {"name": ..., "arguments": {...}}}]
"""

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tutelage.data.field_values import UnreadableRowError, clean_text, is_list, shown

_ARGUMENTS = ("arguments", "parameters", "input", "args")
_NAMES = ("name", "tool_name", "function_name")
_HERMES_CALL = re.compile(r"\s*<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)
_HERMES_RESULT = re.compile(r"\s*<tool_response>\s*(.*?)\s*</tool_response>\s*", re.DOTALL)
TOOLS_IN_TEXT = "<tools>"
"""Text of system prompts that describe the tools themselves, as Hermes data does."""

Call = dict[str, Any]


def tools_text(value: object, *, name: str) -> str | None:
    """Tool schemas of a row as JSON text; None where it has none.

    Args:
        value: A list of schemas, each bare or in OpenAI's frame, each an object or its JSON text;
            or such a list as JSON text.
        name: The field's name, for the reason.

    Raises:
        UnreadableRowError: `bad_type`: it is no list of schemas.

    Examples:
        >>> tools_text('[{"name": "clock"}]', name="tools")
        '[{"type": "function", "function": {"name": "clock"}}]'
        >>> tools_text("[]", name="tools") is None
        True
    """
    found = _from_json(value, name=name) if isinstance(value, str) else value
    if isinstance(found, Mapping):
        found = [found]
    if found is None or (is_list(found) and len(found) == 0):
        return None
    if not is_list(found):
        raise UnreadableRowError(
            "bad_type", f"field {name!r} should be a list of tools, found {shown(value)}"
        )
    schemas = [_schema(tool, name=f"{name}[{i}]") for i, tool in enumerate(found)]
    return clean_text(json.dumps(schemas, ensure_ascii=False))


def _schema(tool: object, *, name: str) -> dict[str, Any]:
    found = _from_json(tool, name=name) if isinstance(tool, str) else tool
    if not isinstance(found, Mapping):
        raise UnreadableRowError(
            "bad_type", f"{name} should be the schema of a tool, found {shown(tool)}"
        )
    plain: dict[str, Any] = without_nulls(found)
    inner = plain.get("function")
    if isinstance(inner, dict):
        return {"type": "function", **plain, "function": _as_json_schema(inner)}
    if "name" not in plain:
        if "type" in plain:  # a tool of the server's own, such as {"type": "web_search"}
            return plain
        raise UnreadableRowError("bad_type", f"{name} names no tool: {shown(tool)}")
    plain.pop("type", None)
    return {"type": "function", "function": _as_json_schema(plain)}


def _as_json_schema(function: dict[str, Any]) -> dict[str, Any]:
    """Parameters listed by name (xLAM) converted to the properties of a JSON schema."""
    parameters = function.get("parameters")
    if (
        isinstance(parameters, dict)
        and parameters
        and not {"type", "properties", "$ref", "anyOf", "$schema"} & parameters.keys()
        and all(isinstance(value, dict) for value in parameters.values())
    ):
        return {**function, "parameters": {"type": "object", "properties": parameters}}
    return function


def calls_of(value: object, *, name: str) -> list[Call]:
    """Tool calls of a turn.

    Args:
        value: A call or a list of calls, each bare (`name`, `arguments`) or in OpenAI's frame;
            or the JSON text of either; or calls in Python's notation.
        name: The field's name, for the reason.

    Raises:
        UnreadableRowError: `bad_type`: it is no call, or its text is neither JSON nor Python;
            `unsupported_content`: a call names no tool.

    Examples:
        >>> calls_of('weather(city="Rome", days=2)', name="function_calls")[0]["function"]
        {'name': 'weather', 'arguments': {'city': 'Rome', 'days': 2}}
    """
    found = value
    if isinstance(value, str):
        try:
            found = _from_json(value, name=name)
        except UnreadableRowError:
            if (written := _python_calls(value)) is not None:
                return written
            raise UnreadableRowError(
                "bad_type",
                f"field {name!r} is neither JSON nor calls in Python's notation: {shown(value)}",
            ) from None
    if found is None:
        return []
    listed: Iterable[object] = found if is_list(found) else [found]
    return [_call(call, name=name) for call in listed if call is not None]


def _call(call: object, *, name: str) -> Call:
    found = _from_json(call, name=name) if isinstance(call, str) else call
    if not isinstance(found, Mapping):
        raise UnreadableRowError(
            "bad_type", f"{name} should hold a call of a tool, found {shown(call)}"
        )
    inner = found.get("function")
    made = inner if isinstance(inner, Mapping) else found
    tool = next((made[k] for k in _NAMES if isinstance(made.get(k), str)), None)
    if tool is None and isinstance(inner, str):
        tool = inner
    if tool is None:
        raise UnreadableRowError(
            "unsupported_content", f"{name} holds a call without a name: {shown(call)}"
        )
    arguments: object = next((made[k] for k in _ARGUMENTS if made.get(k) is not None), {})
    made_id = next((found[k] for k in ("id", "tool_call_id") if found.get(k) is not None), None)
    return {
        "type": "function",
        **({} if made_id is None else {"id": str(made_id)}),
        "function": {"name": tool, "arguments": _arguments(arguments)},
    }


def _python_calls(text: str) -> list[Call] | None:
    """Calls in Python's notation, as OLMo's data writes them: one per line, or in a list.

    Returns:
        None where the text is anything else, or an argument has no name.
    """
    try:
        body = ast.parse(text.strip()).body
        written: list[ast.expr] = []
        for statement in body:
            if not isinstance(statement, ast.Expr):
                return None
            value = statement.value
            written += value.elts if isinstance(value, ast.List | ast.Tuple) else [value]
        calls = [_python_call(one) for one in written]
        json.dumps(calls)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None
    found = [call for call in calls if call is not None]
    return found if found and len(found) == len(calls) else None


def _python_call(node: ast.expr) -> Call | None:
    if not isinstance(node, ast.Call) or node.args or any(k.arg is None for k in node.keywords):
        return None
    arguments = {str(k.arg): ast.literal_eval(_JsonNames().visit(k.value)) for k in node.keywords}
    return {
        "type": "function",
        "function": {"name": ast.unparse(node.func), "arguments": arguments},
    }


class _JsonNames(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.expr:
        known = {"true": True, "false": False, "null": None}
        return ast.Constant(known[node.id]) if node.id in known else node


def _arguments(value: object) -> object:
    """Arguments as an object; text that is not a JSON object stays text."""
    if isinstance(value, str):
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return parsed if isinstance(parsed, dict) else value
    return without_nulls(value)


def with_ids(calls: Iterable[Call], *, made: int = 0) -> list[Call]:
    """Same calls, each with an id of nine letters and digits, which every template accepts.

    Args:
        calls: Some of which may have one.
        made: How many ids the conversation has been given already.
    """
    found = []
    for call in calls:
        if "id" in call:
            found.append(call)
            continue
        found.append({"type": "function", "id": f"call{made:05d}", "function": call["function"]})
        made += 1
    return found


def calls_text(calls: Sequence[Call]) -> str | None:
    """Calls as JSON text; None where there are none."""
    return clean_text(json.dumps(calls, ensure_ascii=False)) if calls else None


def calls_in(text: str) -> tuple[str, list[Call]] | None:
    r"""Calls at the end of a text in Hermes' format, and the text in front of them.

    Returns:
        None where there is no call, or something that cannot be read as one.

    Examples:
        >>> calls_in('Let me see.\n<tool_call>{"name": "clock", "arguments": {}}</tool_call>')
        ('Let me see.', [{'type': 'function', 'function': {'name': 'clock', 'arguments': {}}}])
    """
    start = text.find("<tool_call>")
    if start < 0:
        return None
    calls, at = [], start
    while match := _HERMES_CALL.match(text, at):
        try:
            calls += calls_of(match[1], name="<tool_call>")
        except UnreadableRowError:
            return None
        at = match.end()
    if not calls or text[at:].strip():
        return None
    return text[:start].rstrip(), calls


def result_in(text: str) -> str:
    """Tool result without the frame that Hermes puts around it."""
    framed = _HERMES_RESULT.fullmatch(text)
    return framed[1] if framed else text


def without_nulls(value: Any) -> Any:
    """Same value without fields that are null.

    Arrow and Parquet give every row the fields of all rows; those a row does not have are null.
    """
    if isinstance(value, Mapping):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    if is_list(value):
        return [without_nulls(v) for v in value]
    return value


def _from_json(text: str, *, name: str) -> object:
    if not text.strip():
        return None
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableRowError(
            "bad_type", f"field {name!r} is not JSON: {error}; found {shown(text)}"
        ) from error
    return found
