"""Scripted teacher for tests, examples and demonstrations."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from tutelage.errors import TeacherError
from tutelage.teacher.protocol import Reply, Request

Line: TypeAlias = str | Reply | TeacherError
Script: TypeAlias = Mapping[str, Line] | Callable[[Request], Line | Awaitable[Line]] | Line


class ScriptedTeacher:
    """Teacher that replies from a script and records the requests.

    Args:
        script: What to answer: one line for every request; a mapping from the text of the last
            turn (or from a request's key) to a line; or a function from the request to a line,
            which may be async. A line is a text, a whole `Reply` (its `request_key` is filled in)
            or an error, which is raised.
        name: The teacher's name.
        supports_schema: Whether it says that it obeys JSON schemas.

    Attributes:
        asked: The requests so far, in order.

    Examples:
        >>> import asyncio
        >>> from tutelage.data import Message
        >>> teacher = ScriptedTeacher({"2 + 2?": "4"})
        >>> question = Message(role="user", content="2 + 2?")
        >>> asyncio.run(teacher.ask(Request(model="scripted", messages=(question,)))).text
        '4'
    """

    def __init__(
        self, script: Script, *, name: str = "scripted", supports_schema: bool = False
    ) -> None:
        self._script = script
        self._name = name
        self._supports_schema = supports_schema
        self.asked: list[Request] = []

    @property
    def name(self) -> str:
        """Name of the teacher."""
        return self._name

    @property
    def supports_schema(self) -> bool:
        """Value given at construction."""
        return self._supports_schema

    async def ask(self, request: Request) -> Reply:
        """Reply that the script has for this request.

        Raises:
            TeacherError: The script says so, or has no line for this request.
        """
        self.asked.append(request)
        line = await self._line_for(request)
        match line:
            case TeacherError():
                raise line
            case Reply():
                return replace(line, request_key=request.key)
            case str():
                return Reply(
                    request_key=request.key,
                    model=self._name,
                    text=line,
                    finish_reason="stop",
                    prompt_tokens=sum(len(m.content.split()) for m in request.messages),
                    completion_tokens=len(line.split()),
                )

    async def _line_for(self, request: Request) -> Line:
        if isinstance(self._script, str | Reply | TeacherError):
            return self._script
        if isinstance(self._script, Mapping):
            asked = request.messages[-1].content
            line = self._script.get(asked, self._script.get(request.key))
            if line is None:
                raise TeacherError(
                    f"the script of {self._name} has no line for {asked[:80]!r}",
                    hint="add the text of the last turn, or the request's key, to the script",
                )
            return line
        said = self._script(request)
        return await said if inspect.isawaitable(said) else said
