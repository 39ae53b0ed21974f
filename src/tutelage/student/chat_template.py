"""The student's own chat template, asked only through what it renders."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from jinja2 import TemplateError

from tutelage.data import Message, content_hash
from tutelage.errors import SettingsError
from tutelage.student.template import Rendered, TemplateRefusedError, reverse_digest

RenderMessages: TypeAlias = Callable[[list[dict[str, str]], bool], str]
"""Messages, and whether to add the generation prompt, to text."""

_INSTRUCTION_PROBE = "Probing instruction."
_RESPONSE_PROBE = "Probing response."


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTemplate:
    """A chat template in the form Hugging Face tokenizers carry.

    Attributes:
        name: `chat`, or the name of the user's file.
        source: The Jinja text.
        render_messages: Renders a conversation, with or without the generation prompt.
        turn_header: What stands between an instruction and its response.
        bos: The BOS text that the template starts with; empty where it starts with none.
    """

    name: str
    source: str
    render_messages: RenderMessages
    turn_header: str
    bos: str = ""

    @property
    def header(self) -> str:
        """The text in front of a target that is read alone.

        It starts with BOS where contexts do: some models are lost without it.
        """
        return (
            self.turn_header
            if self.turn_header.startswith(self.bos)
            else self.bos + self.turn_header
        )

    @property
    def adds_bos(self) -> bool:
        """Never: what the template renders is what training sees."""
        return False

    @property
    def digest(self) -> str:
        """Content hash of the template's source and of the reverse prompt."""
        return content_hash("chat", self.source, reverse_digest())

    def render(self, context: Sequence[Message], response: str) -> Rendered:
        """Render a conversation and the response to its last user turn.

            full      <turns> <header> <response> <end of turn>
            context   <turns> <header>
            target                     <response>

        The context is `C(context)`, with the generation prompt, unless training would see
        another header than generation does.

        Raises:
            TemplateRefusedError: The template does not accept such a conversation.
        """
        turns = [{"role": m.role, "content": m.content} for m in context]
        full = self._rendered([*turns, {"role": "assistant", "content": response}], generate=False)
        prompt = self._rendered(turns, generate=True)
        fronts = [prompt]
        if not full.startswith(prompt + response):
            fronts.append(self._rendered(turns, generate=False) + self.turn_header)
        for front in fronts:
            for target in (response, response.strip()):
                if target and full.startswith(front + target):
                    trimmed = len(response) - len(response.lstrip())
                    return Rendered(
                        context=front,
                        target=target,
                        offset=trimmed if target != response else 0,
                        end=full[len(front) + len(target) :].rstrip(),
                    )
        return Rendered(context=prompt, target=response, verbatim=False)

    def _rendered(self, turns: list[dict[str, str]], *, generate: bool) -> str:
        try:
            return self.render_messages(turns, generate)
        except TemplateError as error:
            roles = ", ".join(turn["role"] for turn in turns)
            raise TemplateRefusedError(
                f"the chat template refuses a conversation of {roles}: {error}",
                hint="remove the turns it refuses, or use a raw template",
            ) from error


def open_chat_template(
    render_messages: RenderMessages, *, name: str, source: str, bos: str | None
) -> ChatTemplate:
    """Find out by a probe what a chat template puts in front of a response.

    Raises:
        SettingsError: The template cannot render one user turn and one assistant turn, or puts
            nothing between them.
    """
    user = {"role": "user", "content": _INSTRUCTION_PROBE}
    assistant = {"role": "assistant", "content": _RESPONSE_PROBE}
    try:
        bare = render_messages([user], False)
        full = render_messages([user, assistant], False)
    except TemplateError as error:
        raise SettingsError(
            f"template {name}: cannot render a user turn and its response: {error}",
            hint="use a raw template for this model: --template alpaca, or a file of your own",
        ) from error
    front, found, _ = full.partition(_RESPONSE_PROBE)
    header = front.removeprefix(bare) if front.startswith(bare) else ""
    if not header:  # the generation prompt is not a part of its own: take what stands between
        header = front.rpartition(_INSTRUCTION_PROBE)[2]
    if not found or not header.strip():
        raise SettingsError(
            f"template {name}: puts nothing between instruction and response",
            hint="use a raw template for this model: --template alpaca, or a file of your own",
        )
    return ChatTemplate(
        name=name,
        source=source,
        render_messages=render_messages,
        turn_header=header,
        bos=bos if bos and front.startswith(bos) else "",
    )


def template_problems(template: ChatTemplate) -> list[str]:
    """What users of this template should know before they trust a score; empty is good news.

    Returns:
        One sentence for each finding, for people.
    """
    user = Message(role="user", content=_INSTRUCTION_PROBE)
    said = Message(role="assistant", content=_RESPONSE_PROBE)
    system = Message(role="system", content="Probing system.")
    problems = []
    cases = (
        ("a system prompt", [system, user]),
        ("an earlier turn", [user, said, user]),
        ("two user turns in a row", [user, user]),
    )
    for what, context in cases:
        try:
            rendered = template.render(context, _RESPONSE_PROBE)
        except TemplateRefusedError as error:
            problems.append(f"refuses {what} ({error})")
            continue
        if system in context and system.content not in rendered.context:
            problems.append("drops the system prompt")
    if template.render([user], f" {_RESPONSE_PROBE}\n").offset:
        problems.append("trims the response, so the trimmed response is scored")
    thinking = f"<think>\nProbing.\n</think>\n\n{_RESPONSE_PROBE}"
    if not template.render([user], thinking).verbatim:
        problems.append("rewrites thinking blocks, so such a response is not what training sees")
    prompt = template.render_messages([{"role": "user", "content": user.content}], True)
    injected = template.render([user], _RESPONSE_PROBE).context.removeprefix(prompt)
    if injected:
        problems.append(f"puts {injected!r} in front of the response; it counts as context")
    return problems
