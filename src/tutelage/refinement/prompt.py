"""Prompt files: the package's own by version, or the user's by path."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tutelage.data import Message, content_hash
from tutelage.data.yaml_settings import settings_text
from tutelage.errors import SettingsError

PromptVersion: TypeAlias = Literal["v1", "v2"]
"""Version of the default prompts. v1 has been measured with a small teacher. v2 was written after
reading its failures (copied responses, instructions that lost their text) and has not been measured
yet.
"""

Form: TypeAlias = Literal["json", "markers"]
"""Layout of a reply: a JSON object under a schema, or text between marker lines."""

_MIN_SENTENCE_WORDS = 6  # a shorter sentence of ours may well be a sentence of anybody's
_PROBE = "\u2983probe-{}\u2984"  # in place of an example's text when a prompt file is checked


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """Prompt file with its placeholders.

    Attributes:
        name: The step and version, or the user's file name; written to the manifest.
        fingerprint: Content hash of the file's text; written to the manifest.
        own_sentences: What the prompt says in its own words, normalised; a reply that holds one
            of them echoes the prompt.
        own_lines: The prompt's frame lines and placeholders, such as `=== OLD RESPONSE ===` or
            `(your text)`, normalised.
    """

    name: str
    fingerprint: str
    own_sentences: frozenset[str] = field(repr=False)
    own_lines: frozenset[str] = field(repr=False)
    template: jinja2.Template = field(repr=False, compare=False)

    def messages(
        self,
        *,
        form: Form,
        earlier: Sequence[Message],
        instruction: str,
        response: str,
        instruction_criteria: Sequence[str],
        response_criteria: Sequence[str],
    ) -> tuple[Message, ...]:
        """Messages with the prompt filled in for one pair.

        Args:
            form: The layout the reply is asked to have.
            earlier: Turns before the last user turn, and the system prompt; shown as context.
            instruction: The last user turn.
            response: The assistant turn that is trained on.
            instruction_criteria: What the instruction is judged by.
            response_criteria: What the response is judged by.

        Returns:
            A system turn, unless that block is empty, and a user turn.
        """
        values: dict[str, object] = {
            "form": form,
            "earlier": earlier,
            "instruction": instruction,
            "response": response,
            "instruction_criteria": instruction_criteria,
            "response_criteria": response_criteria,
        }
        system = _render(self.template, block="system", values=values)
        user = _render(self.template, block="user", values=values)
        turns = [Message(role="system", content=system)] if system else []
        return (*turns, Message(role="user", content=user))


@lru_cache(maxsize=16)
def load_prompt(*, step: str, version: PromptVersion = "v1", path: Path | None = None) -> Prompt:
    """Load a prompt of the package, or the user's file in its place.

    A file is read once per process: a run that takes days uses one prompt, the one its manifest
    names, even if the file is edited meanwhile.

    Args:
        step: `instruction_reflection` or `response_reflection`.
        version: Which of the package's prompts.
        path: A file to use instead. It has a `system` and a `user` block, and shows the variables
            `instruction` and `response`.

    Raises:
        SettingsError: The file cannot be read, is not a valid template, or does not show the pair.
    """
    if path is not None:
        hint = "give the path of a UTF-8 text file, or leave the setting out"
        return _compile(path.name, settings_text(path, hint=hint))
    name = f"{step}.{version}"
    file = resources.files("tutelage.refinement").joinpath("prompts", f"{name}.md.jinja")
    return _compile(name, file.read_text(encoding="utf-8"))


def _compile(name: str, source: str) -> Prompt:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    try:
        template = environment.from_string(source)
        missing = [block for block in ("system", "user") if block not in template.blocks]
        if missing:
            raise SettingsError(
                f"prompt {name}: has no {' and no '.join(missing)} block",
                hint="write {% block system %}...{% endblock %} and the same for user",
            )
        _check_shows_pair(name, template)
        sentences, lines = _own_words(template)
    except jinja2.TemplateError as error:
        raise SettingsError(
            f"prompt {name}: {type(error).__name__}: {error}",
            hint="the variables are form, earlier, instruction, response, instruction_criteria "
            "and response_criteria",
        ) from error
    return Prompt(
        name=name,
        fingerprint=content_hash("prompt", source),
        own_sentences=sentences,
        own_lines=lines,
        template=template,
    )


def _render(template: jinja2.Template, *, block: str, values: dict[str, object]) -> str:
    return "".join(template.blocks[block](template.new_context(values))).strip()


def _blank_values(form: Form, *, instruction: str = "", response: str = "") -> dict[str, object]:
    return {
        "form": form,
        "earlier": (Message(role="user", content=""),),
        "instruction": instruction,
        "response": response,
        "instruction_criteria": (),
        "response_criteria": (),
    }


def _check_shows_pair(name: str, template: jinja2.Template) -> None:
    """Raise an error for a prompt that does not show the pair or names no marker."""
    for form in ("json", "markers"):
        probes = {part: _PROBE.format(part) for part in ("instruction", "response")}
        values = _blank_values(form, **probes)
        text = "\n".join(_render(template, block=b, values=values) for b in ("system", "user"))
        unseen = [part for part, probe in probes.items() if probe not in text]
        if unseen:
            raise SettingsError(
                f"prompt {name}: does not show the {' and the '.join(unseen)}",
                hint="write {{ instruction }} and {{ response }} into the user block",
            )
        needed = "<<<NEW RESPONSE>>>" if form == "markers" else '"new_response"'
        if needed not in text:
            raise SettingsError(
                f"prompt {name}: does not ask for {needed} when form is {form!r}",
                hint="compare with the prompts of the package: they show both layouts",
            )


def _own_words(template: jinja2.Template) -> tuple[frozenset[str], frozenset[str]]:
    sentences: set[str] = set()
    lines: set[str] = set()
    for form in ("json", "markers"):
        values = _blank_values(form)
        for block in ("system", "user"):
            text = _render(template, block=block, values=values)
            lines.update(_frame_lines(text.splitlines()))
            sentences.update(s for s in sentences_of(text) if len(s.split()) >= _MIN_SENTENCE_WORDS)
    return frozenset(sentences), frozenset(lines)


def _frame_lines(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        if re.fullmatch(r"\W{3,}\w.*\W{3,}|\(\w.*\w\)", line.strip()):
            yield normalised(line)


def normalised(text: str) -> str:
    r"""Text in lower case with single spaces, for comparison.

    Examples:
        >>> normalised("  Two\n Words ")
        'two words'
    """
    return " ".join(text.casefold().split())


def sentences_of(text: str) -> list[str]:
    r"""Sentences of a text, normalised, without list markers and closing punctuation.

    Examples:
        >>> sentences_of("- One thing.  Another one!\n2. Last")
        ['one thing', 'another one', 'last']
    """
    pieces = re.split(r"\n+|(?<=[.!?:;])\s+", text)
    stripped = (normalised(re.sub(r"^\s*(?:[-*#>]+|\d+[.)])\s*", "", p)) for p in pieces)
    return [s for s in (p.strip("()[]\"'.!?:; ") for p in stripped) if s]
