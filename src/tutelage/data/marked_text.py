"""Texts that mark their turns, such as "Human:", "[INST]" or "<|im_start|>user"."""

import re
from collections.abc import Iterable, Iterator

_MARKS = (
    re.compile(r"(?:###\s*|\n\s*\n)(Human|Assistant)\s*:\s?"),
    re.compile(r"\n\s*\n(USER|ASSISTANT|FUNCTION RESPONSE)\s*:\s?"),
    re.compile(r"(?:^|\n)\s*###\s*(Instruction|Input|Response)\s*:[ \t]*\n?"),
)
"""What marks the turns of a text, each kind by itself."""


_MARKED_ROLES = {"FUNCTION RESPONSE": "tool", "Instruction": "user", "Response": "assistant"}


_BAR = (
    r"<\|(system|user|assistant)\|>\s*(.*?)"
    r"(?:</s>|<\|end\|>|(?=<\|(?:user|assistant)\|>)|$)"
)


_TAGGED = {
    "<|im_start|>": r"<\|im_start\|>[ \t]*(\w+)\n(.*?)(?:<\|im_end\|>\s*|$)",
    "<|start_header_id|>": (
        r"<\|start_header_id\|>(\w+)<\|end_header_id\|>\s*(.*?)(?:<\|eot_id\|>|$)"
    ),
    "<start_of_turn>": r"<start_of_turn>(\w+)\n(.*?)(?:<end_of_turn>\s*|$)",
    "<|system|>": _BAR,
    "<|user|>": _BAR,
}
"""Turns in the control tokens of ChatML, Llama 3, Gemma, Zephyr and Phi, by how a text starts."""


_STARTS = re.compile(r"(?:<s>|<bos>|<\|begin_of_text\|>|<\|endoftext\|>)\s*")


_INST = re.compile(r"\[INST\](.*?)\[/INST\](.*?)(?:</s>\s*(?:<s>\s*)?|(?=\[INST\])|$)", re.DOTALL)


_SYS = re.compile(r"\s*<<SYS>>(.*?)<</SYS>>", re.DOTALL)


_END = re.compile(r"\s*(?:<\|endoftext\|>|</s>)\s*$")


def marked_turns(text: str) -> list[dict[str, str]] | None:
    """Turns of a text that marks them, such as "Human:" or "### Instruction:".

    Returns:
        None where the text does not start with such a mark, or holds no answer.
    """
    plain = text.strip()
    tagged = _STARTS.sub("", plain, count=1) if plain.startswith("<") else ""
    for start, form in _TAGGED.items():
        if tagged.startswith(start):
            found = re.finditer(form, tagged, re.DOTALL)
            return _answered_turns(("assistant" if m[1] == "model" else m[1], m[2]) for m in found)
    if plain.removeprefix("<s>").lstrip().startswith("[INST]"):
        return _answered_turns(_instructed(plain))
    for mark in _MARKS:
        parts = mark.split(text if text.startswith("\n") else f"\n\n{text.lstrip()}")
        preamble = "Input" in mark.pattern and parts[0].lstrip().startswith("Below is")
        if len(parts) < 3 or (parts[0].strip() and not preamble):  # noqa: PLR2004  (a mark and a text)
            continue
        return _answered_turns(zip(parts[1::2], parts[2::2], strict=True))
    return None


def _instructed(text: str) -> Iterator[tuple[str, str]]:
    """The turns of a text in the form of Llama 2."""
    for match in _INST.finditer(text):
        system = _SYS.match(match[1])
        if system is not None:
            yield "system", system[1]
        yield "user", match[1][system.end() :] if system is not None else match[1]
        yield "assistant", match[2]


def _answered_turns(said: Iterable[tuple[str, str]]) -> list[dict[str, str]] | None:
    turns: list[dict[str, str]] = []
    for spelled, content in said:
        text = _END.sub("", content.strip())
        if spelled == "Input" and turns:
            turns[-1]["content"] += f"\n{text}" if text else ""
            continue
        role = _MARKED_ROLES.get(spelled, spelled.lower())
        turns.append({"role": role, "content": text})
    return turns if any(turn["role"] == "assistant" for turn in turns) else None
