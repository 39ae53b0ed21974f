"""The sandbox in which chat templates are rendered.

It has what transformers gives a chat template (the tag `generation`, loop controls, `tojson`,
`raise_exception`, `strftime_now`), with three differences: the date is a setting, a template that
takes too long is stopped, and so is one that builds a huge value.
"""

import json
import time
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

RENDER_SECONDS = 10.0
"""A template that takes longer for one conversation is refused."""
_LARGEST = 10_000_000
"""The most characters or items of a value that a template may build by multiplication."""

TEMPLATE_ERRORS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What a template can raise: its own errors, and those of the expressions in it."""


class _GenerationTag(Extension):
    """`{% generation %}` marks what the assistant wrote; it changes nothing about the text."""

    tags = {"generation"}  # noqa: RUF012  (as Jinja declares it)

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        # A scope of its own, as the macro has that transformers makes of it.
        return nodes.CallBlock(self.call_method("_written"), [], [], body).set_lineno(line)

    def _written(self, caller: Callable[[], str]) -> str:
        return caller()


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with a clock that stands still and bounds on time and memory."""

    intercepted_binops = frozenset({"*", "**"})

    def __init__(self, *, today: date) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
        )
        self._today = datetime(today.year, today.month, today.day)  # noqa: DTZ001  (a date)
        self._ends_at = float("inf")
        self.asked_for_date = False
        self.filters["tojson"] = _to_json
        self.globals["raise_exception"] = _raise
        self.globals["strftime_now"] = self._strftime_now

    def timed(self, render: Callable[[], str]) -> str:
        """Call a rendering that ends with an error when it takes too long."""
        self._ends_at = time.monotonic() + RENDER_SECONDS
        try:
            return render()
        finally:
            self._ends_at = float("inf")

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call something from a template."""
        self._check_time()
        return super().call(context, obj, *args, **kwargs)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Read an attribute from a template."""
        self._check_time()
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Read an item from a template."""
        self._check_time()
        return super().getitem(obj, argument)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Multiply, unless the result would be huge."""
        sizes = [len(side) for side in (left, right) if isinstance(side, str | list | tuple)]
        counts = [side for side in (left, right) if isinstance(side, int)]
        if sizes and counts and sizes[0] * counts[0] > _LARGEST:
            raise jinja2.TemplateError(f"a value of {sizes[0] * counts[0]} characters or items")
        if operator == "**" and len(counts) == len((left, right)) and abs(right) > 64:  # noqa: PLR2004
            raise jinja2.TemplateError(f"a power of {right}")
        return super().call_binop(context, operator, left, right)

    def _strftime_now(self, pattern: str) -> str:
        self.asked_for_date = True
        return self._today.strftime(pattern)

    def _check_time(self) -> None:
        if time.monotonic() > self._ends_at:
            raise jinja2.TemplateError(f"takes more than {RENDER_SECONDS:.0f} seconds")


def _to_json(
    value: Any,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002  (the filter's own signature)
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def compile_template(
    source: str, *, today: date, variables: Mapping[str, Any]
) -> Callable[[list[dict[str, Any]], bool, list[Any] | None], str]:
    """Compile a chat template to a function of messages, generation prompt and tools.

    Args:
        source: The Jinja text.
        today: What the template takes for the current date.
        variables: Special tokens and template arguments.

    Raises:
        jinja2.TemplateError: The text is not a template.
    """
    environment = TemplateEnvironment(today=today)
    template = environment.from_string(source)

    def render(messages: list[dict[str, Any]], generate: bool, tools: list[Any] | None) -> str:  # noqa: FBT001
        return environment.timed(
            lambda: template.render(
                messages=messages,
                tools=tools,
                documents=None,
                add_generation_prompt=generate,
                **variables,
            )
        )

    return render


def reads_clock(source: str) -> bool:
    """Whether a template asks for the current date or time."""
    return "strftime_now" in source
