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

from tutelage.data.field_values import UnreadableRowError, clean_text, is_list, is_nothing, shown
from tutelage.data.thinking import split_thinking

ARGUMENTS = ("arguments", "parameters", "input", "args", "params", "kwargs", "tool_input")
"""Names of the arguments of a call, most likely first."""
NAMES = ("name", "tool_name", "function_name")
"""Names of the field that names the tool of a call or of a result."""
CALL_IDS = ("call_id", "id", "tool_call_id", "tool_use_id")
"""Names of the id of a call, as its result repeats it (OpenAI's `id` is the item's, where both)."""
_ABOUT_CALLS = frozenset(
    (
        *("function", "metadata", "extra", "extra_content", "provider_specific_fields"),
        *("cache_control", "caller", "annotations", "usage"),
    )
)
"""Objects in a call that are not its arguments."""
_HERMES_CALL = re.compile(r"\s*<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)
_HERMES_RESULT = re.compile(r"\s*<tool_response>\s*(.*?)\s*</tool_response>\s*", re.DOTALL)
_TOOLS_IN_TEXT = ("<tools>", "tool_declare")
"""Marks of system prompts that describe the tools themselves (Hermes, Kimi)."""
_NAMED_IN_TEXT = re.compile(r"""\\?["']name\\?["']\s*:\s*\\?["']([^"'\\]+)\\?["']""")
_DESCRIBED_IN_TEXT = re.compile(
    r"""["'](?:description|parameters|input_?schema)\\?["']\s*:""", re.IGNORECASE
)

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
    """Function whose parameters are a JSON schema.

    Those listed by name (xLAM) become its properties; Anthropic and MCP name it `input_schema`.
    """
    names = ("input_schema", "inputSchema")
    own = next((name for name in names if isinstance(function.get(name), dict)), None)
    if own is not None and "parameters" not in function:
        function = {"parameters" if k == own else k: v for k, v in function.items()}
    parameters = function.get("parameters")
    if (
        isinstance(parameters, dict)
        and parameters
        and all(isinstance(value, dict) for value in parameters.values())
        and not _are_properties(parameters.get("properties"))
    ):
        return {**function, "parameters": {"type": "object", "properties": parameters}}
    return function


def _are_properties(value: object) -> bool:
    """Whether these are the properties of a schema, and not a parameter of that name."""
    return isinstance(value, dict) and all(isinstance(one, dict | bool) for one in value.values())


def describes_tools(text: str, tools: str) -> bool:
    """Whether a system prompt describes the tools of its row itself.

    Args:
        text: The system prompt.
        tools: The tools of the row, as `tools_text` gives them.

    Examples:
        >>> tools = tools_text('[{"name": "clock"}]', name="tools")
        >>> describes_tools('Tools: [{"name": "clock", "description": "The time."}]', tools)
        True
        >>> describes_tools("Look at the clock.", tools)
        False
    """
    if any(mark in text for mark in _TOOLS_IN_TEXT):
        return True
    if _DESCRIBED_IN_TEXT.search(text) is None:
        return False
    schemas = [tool.get("function") for tool in json.loads(tools)]
    named = {schema.get("name") if isinstance(schema, dict) else None for schema in schemas}
    return named <= set(_NAMED_IN_TEXT.findall(text))


def calls_of(value: object, *, name: str) -> list[Call]:
    """Tool calls of a turn.

    Args:
        value: A call or a list of calls, each bare (`name`, `arguments`) or in OpenAI's frame;
            or the text of either, as JSON or in Python's notation; or calls in Python's notation.
            What is all null, as in a column of Parquet, is no call.
        name: The field's name, for the reason.

    Raises:
        UnreadableRowError: `bad_type`: it is no call, its text is neither JSON nor Python, or its
            arguments have an unknown name;
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
    listed: Iterable[object] = found if is_list(found) else [found]
    return [_call(call, name=name) for call in listed if not _is_no_call(call)]


def _is_no_call(value: object) -> bool:
    """Whether a value only fills the place of a call: null, or an object whose fields are."""
    return value is None or (isinstance(value, Mapping) and len(value) > 0 and is_void(value))


def _call(call: object, *, name: str) -> Call:
    found = _from_json(call, name=name) if isinstance(call, str) else call
    if not isinstance(found, Mapping):
        raise UnreadableRowError(
            "bad_type", f"{name} should hold a call of a tool, found {shown(call)}"
        )
    inner = found.get("function")
    made = inner if isinstance(inner, Mapping) else found
    tool = next((made[k] for k in NAMES if isinstance(made.get(k), str)), None)
    if tool is None and isinstance(inner, str):
        tool = inner
    if tool is None:
        raise UnreadableRowError(
            "unsupported_content", f"{name} holds a call without a name: {shown(call)}"
        )
    arguments = _arguments_in([made, found], name=name)
    made_id = next((found[k] for k in CALL_IDS if not is_nothing(found.get(k))), None)
    return {
        "type": "function",
        **({} if made_id is None else {"id": str(made_id)}),
        "function": {"name": tool, "arguments": _arguments(arguments)},
    }


def _arguments_in(places: Iterable[Mapping[str, object]], *, name: str) -> object:
    """Arguments of a call under any of their names, in the call or in its `function`."""
    given = [place[k] for place in places for k in ARGUMENTS if place.get(k) is not None]
    if given:
        return next((value for value in given if not is_nothing(value)), {})
    for place in places:
        for key, value in place.items():
            is_object = isinstance(value, Mapping) and not is_void(value)
            is_json = isinstance(value, str) and value.lstrip().startswith("{")
            if key not in _ABOUT_CALLS and (is_object or is_json):
                raise UnreadableRowError(
                    "bad_type",
                    f"{name} holds a call without arguments but with {clean_text(str(key))!r}: "
                    f"{shown(value)}; its arguments may be named {', '.join(ARGUMENTS)}",
                )
    return {}


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
    found = _calls_from(text, text.find("<tool_call>"))
    if found is None and (thinking := split_thinking(text)).thoughts:
        # The thinking may mention a call, too.
        found = _calls_from(text, text.find("<tool_call>", text.rfind(thinking.answer)))
    return found


def _calls_from(text: str, start: int) -> tuple[str, list[Call]] | None:
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


def results_in(text: str) -> list[str] | None:
    """Tool results without the frames that Hermes puts around them; None for any other text.

    Examples:
        >>> results_in("<tool_response>4</tool_response> <tool_response>noon</tool_response>")
        ['4', 'noon']
    """
    found, at = [], 0
    while match := _HERMES_RESULT.match(text, at):
        found.append(match[1])
        at = match.end()
    if found and at == len(text):
        return found
    framed = _HERMES_RESULT.fullmatch(text)
    return [framed[1]] if framed else None


def is_void(value: object) -> bool:
    """Whether there is nothing in a value: null, empty, or holding only such values."""
    if isinstance(value, Mapping):
        return all(is_void(v) for v in value.values())
    if is_list(value):
        return all(is_void(v) for v in value)
    return is_nothing(value)


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
        if (written := _python_value(text)) is not None:
            return written
        raise UnreadableRowError(
            "bad_type", f"field {name!r} is not JSON: {error}; found {shown(text)}"
        ) from error
    return found


def _python_value(text: str) -> object:
    """List or object in Python's notation, as pandas writes it; None for any other text."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        body = ast.parse(text.strip(), mode="eval").body
        found = ast.literal_eval(_JsonNames().visit(body))
        return json.loads(json.dumps(found)) if isinstance(found, dict | list) else None
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None
