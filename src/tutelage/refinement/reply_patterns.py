"""Patterns in a teacher's reply: chat-template markup, refusals, talk about the task, placeholders.

Markup is removed with a note where it is clear, otherwise it is a fault. Servers that do not know
a model's template leave its control tokens in the reply, let it run on into a turn that the model
plays for the user, or lose the tag that opens its thinking. What the assistant said can usually be
told from what surrounds it:

    Let me see ... </think> It is 12.<|im_end|>    -> It is 12.
    It is 12.</s> User: And 3 + 4?                 -> It is 12.
    <|channel|>analysis ... <|channel|>final<|message|>It is 12.  -> It is 12.

Text that the prompt itself has, and code, is left alone: a prompt may ask about chat templates.
The patterns of refusals, talk and placeholders are English: they find nothing in other languages,
where the student's numbers decide.
"""

import re
from dataclasses import dataclass

_NAMES = (
    r"im_end|im_start|im_sep|eot_id|eom_id|eot|eom|end|return|call|start|message|channel|constrain"
    r"|endoftext|end_of_text|begin_of_text|startoftext|endofprompt|end_of_turn|start_of_turn"
    r"|end_of_role|start_of_role|start_header_id|end_header_id|user|assistant|system|observation"
    r"|end_of_sentence|begin_of_sentence|eos|bos|pad|assistant_end|assistant_start|user_end"
    r"|user_start|START_OF_TURN_TOKEN|END_OF_TURN_TOKEN|USER_TOKEN|CHATBOT_TOKEN|SYSTEM_TOKEN"
    r"|END_RESPONSE|START_RESPONSE|END_OF_TURN|START_OF_TURN|eoa|eoh|python_tag|header_start"
    r"|header_end"
)
_TOKEN = re.compile(
    rf"<\|(?:{_NAMES})\|>"
    r"|<(?:end_of_turn|start_of_turn|eos|bos|pad|/s|end_of_utterance)>"
    r"|<\|?(?:turn|channel)\|>|<\|(?:turn|channel)>"
    r"|<\uff5c[^\uff5c<>\n]{1,40}\uff5c>|\[\|(?:endofturn|user|assistant|system)\|\]"
    r"|</?\[?INST\]?>|\[/?INST\]|<</?SYS>>|\[/?(?:AVAILABLE_TOOLS|TOOL_CALLS|SYSTEM_PROMPT)\]"
    r"|<unused\d+>|<reserved_\d+>|<\|[a-z]+_(?:start|end)\|>|<\|[a-z_]{2,24}\|?\s*\Z"
    r"|(?P<other><\|/?[a-z][\w.:/-]{0,39}\|>)"
    r"|<(?:s|unk|sep|eot|eod|eoa|eom|0x[0-9a-f]{2}|extra_id_\d+|special_\d+)>\s*\Z"
    r"|(?<=[.!?\n)\]}>`*])\s*\[(?:eos|end of text|endofturn)\]\s*\Z",
    re.IGNORECASE,
)
_LAST_TOKENS = re.compile(r"(?:\s*<(?:/?s|eos|bos|pad|unk)>)+\s*\Z", re.IGNORECASE)
_NAME_ALONE = re.compile(r"\s*(?:assistant|model|final|analysis|commentary|user|system)\s*")
"""Names of roles and channels: no answer if nothing else comes before a token."""
_BOX = re.compile(r"<\|(?:begin|end)_of_box\|>")
_ORDINARY = frozenset(("</s>", "<eos>", "<bos>", "<pad>"))
"""Tokens that are also tags of HTML or words of a text; cut only where no more text follows, as are
tokens of unknown names (`other`)."""

_ABOUT_TOKENS = re.compile(
    r"chat ?ml|chat template|(?:special|control) token|tokeni[sz]er|end[- ]of[- ](?:turn|text|seq)"
    r"|harmony|padding|sentinel",
    re.IGNORECASE,
)
_TURN = re.compile(
    r"\A\s*(?:\#{1,4}\s*)?(?:user|human|assistant|model|system|tool|observation)\b", re.IGNORECASE
)
_HEADER = re.compile(
    r"""\A\s*(?:
        <\|im_start\|>\s*assistant\b[ \t]*\n?
      | (?:<\|start_header_id\|>|<\|header_start\|>)\s*assistant\s*
        (?:<\|end_header_id\|>|<\|header_end\|>)
      | <start_of_turn>\s*(?:model|assistant)\b[ \t]*\n?
      | <\|turn>\s*(?:model|assistant)\b[ \t]*\n?
      | <\|start_of_role\|>\s*assistant\s*<\|end_of_role\|>
      | <\|(?:assistant|begin_of_text|startoftext)\|>[ \t]*\n?
      | \[\|assistant\|\]
      | <\|START_OF_TURN_TOKEN\|>\s*<\|CHATBOT_TOKEN\|>
      | <\|START_RESPONSE\|>
      | <\uff5cAssistant\uff5c>
      | <bos>\s*
      | <s>(?![^<]*</s>\s*\S)\s*
      | \[/INST\]
      | (?:assistant|model)[ \t]*\n
      | <reserved_\d+>
      | (?:assistant\s*)?(?:<\|channel\|>)?final\s*<\|message\|>
      | \#{2,4}[ \t]*(?:Response|Assistant|Answer)[ \t]*:[ \t]*\n
    )""",
    re.VERBOSE,
)
_LABEL = re.compile(r"\A\s*(?:\*\*)?(?:Assistant|ASSISTANT|AI)(?:\*\*)?[ \t]*:(?:\*\*)?[ \t]*")
"""The label of the assistant's turn in a dialogue without tokens."""
_WRAPPED = re.compile(
    r"\A\s*<(?P<tag>answer|response|final_answer|final)>(?P<text>.*)</(?P=tag)>\s*\Z",
    re.DOTALL | re.IGNORECASE,
)
_ASKS_FOR_TAGS = re.compile(r"xml|html|\btags?\b|</?\w+>", re.IGNORECASE)
_HARMONY = re.compile(
    r"<\|channel\|>\s*(?P<channel>\w+)(?P<rest>[^<]*)(?:<\|constrain\|>[^<]*)?<\|message\|>"
    r"(?P<text>.*?)(?=<\|(?:end|return|call|start|channel)\|>|\Z)",
    re.DOTALL,
)
_BARE_HARMONY = re.compile(
    r"\A\s*(?:assistant)?(?:analysis|commentary)(?P<thought>.*?)assistantfinal(?P<text>.*)\Z",
    re.DOTALL,
)
_OPEN = (
    r"<(?:\w{1,12}[:_])?(?:think|thinking|thought|thoughts|reasoning|scratchpad)>|\[THINK\]"
    r"|◁think▷|<\|begin_of_thought\|>|<\|START_THINKING\|>|<\|channel>thought\b"
    r"|<\|(?:thinking|think|think_start|begin_of_think)\|>"
)
_CLOSE = (
    r"</(?:\w{1,12}[:_])?(?:think|thinking|thought|thoughts|reasoning|scratchpad)>|\[/THINK\]"
    r"|◁/think▷|<\|end_of_thought\|>|<\|END_THINKING\|>|<channel\|>"
    r"|<\|(?:/thinking|/think|think_end|end_of_think)\|>"
)
_BARE_ANALYSIS = re.compile(r"\A\s*(?:assistant)?analysis(?=[A-Z])")
"""Start of harmony's thinking without its tokens, with which no word begins."""
_THINK = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL | re.IGNORECASE)
_WHOLE_THOUGHT = re.compile(
    rf"\A\s*(?:{_OPEN})(?P<thought>.*?)(?:{_CLOSE})", re.DOTALL | re.IGNORECASE
)
_OPENING = re.compile(_OPEN, re.IGNORECASE)
_CLOSING = re.compile(_CLOSE, re.IGNORECASE)
_SOLUTION = re.compile(
    r"\A\s*<\|begin_of_solution\|>(?P<text>.*?)(?:<\|end_of_solution\|>\s*)?\Z", re.DOTALL
)
_NEXT_TURN = re.compile(
    r"(?<=\n\n)[ \t]*(?:\#{1,4}[ \t]*|\*\*)?(?:Human|User|USER|HUMAN|Instruction|Q(?=\d*:)"
    r"|\u7528\u6237|\u30e6\u30fc\u30b6\u30fc|\uc0ac\uc6a9\uc790|Utilisateur|Usuario|Nutzer|Benutzer"
    r"|\u041f\u043e\u043b\u044c\u0437\u043e\u0432\u0430\u0442\u0435\u043b\u044c)"
    r"(?:\*\*)?[ \t]*[:\uff1a](?:\*\*)?(?=\s*\S+\s+\S|\s*[^\s\x00-\x7f])",
    re.MULTILINE,
)
_TIGHT_TURN = re.compile(
    r"(?<=\n)[ \t]*(?:Human|User|USER|HUMAN)[ \t]*:"
    r"(?=[^\n]+\n+[ \t]*(?:Assistant|AI|ASSISTANT)[ \t]*:)"
    r"|(?<=\n\n)[ \t]*Question[ \t]*:(?=[^\n]+\n+[ \t]*Answer[ \t]*:)"
    r"|(?<=\n)user[ \t]*\n(?=.+?(?:assistant|model)[ \t]*\n)"
    r"|(?<=[.!?)`*\w\u3002])assistant[ \t]*\n[ \t]*\n",
    re.DOTALL,
)
"""A played turn without a blank line in front of it; the answer to it must follow. The last two are
those of Gemma and Llama 3 whose tokens the server left out."""
_ANSWERER = re.compile(
    r"^[ \t]*(?:\*\*)?(?:Assistant|AI|Bot|Agent|ChatGPT|Model|User|Human)(?:\*\*)?[ \t]*:",
    re.MULTILINE | re.IGNORECASE,
)
_ASKS_FOR_TURNS = re.compile(
    r"dialog|conversation|chat|interview|transcript|script|role[- ]?play|instruction|prompt|user"
    r"|human|question|q ?& ?a|quiz|faq|scene|debate",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"^[ \t]{0,3}(`{3,}|~{3,}).*?^[ \t]{0,3}\1[`~]*[ \t]*$|`[^`\n]+`", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """Reply without markup around the assistant's text.

    Attributes:
        text: What the assistant said.
        notes: What was cut, for people; empty where nothing was.
        thought: Thinking that was cut, or None.
        fault: Why what the assistant said cannot be told; then the text is not to be used.
    """

    text: str
    notes: tuple[str, ...] = ()
    thought: str | None = None
    fault: str | None = None


def cleaned(text: str, *, prompt: str = "", turns: bool = True) -> Cleaned:
    """Remove chat-template markup from a reply.

    A thought between `<think>` tags at the start stays where it is.

    Args:
        text: The reply.
        prompt: What was asked. Markup that it mentions is left alone.
        turns: Whether a further turn of the user without control tokens is cut as well.

    Examples:
        >>> cleaned("Twelve.<|im_end|>").text
        'Twelve.'
        >>> cleaned("5 + 7, so 12.</think>It is 12.").notes
        ('cut a thought of 13 characters',)
    """
    work = _Work(text=text, prompt=prompt)
    work.cut_harmony()
    if work.fault is None:
        work.cut_header()
        work.cut_thought()
        work.cut_header()  # what a thought stood in front of
        work.cut_box()
        work.cut_after_end()
        work.cut_wrapping()
        if turns:
            work.cut_next_turn()
        work.find_rest()
    thought = "\n\n".join(work.thoughts) or None
    return Cleaned(text=work.text, notes=tuple(work.notes), thought=thought, fault=work.fault)


class _Work:
    def __init__(self, *, text: str, prompt: str) -> None:
        self.text = text
        self.prompt = prompt
        self.notes: list[str] = []
        self.thoughts: list[str] = []
        self.fault: str | None = None

    def cut_harmony(self) -> None:
        """Remove the channels of gpt-oss: the final one is the answer, analysis is thinking."""
        if "<|channel|>" not in self.prompt and "<|channel|>" in self._outside_code():
            found = list(_HARMONY.finditer(self.text))
            finals = [part for part in found if part["channel"].lower() == "final"]
            if not finals or not finals[-1]["text"].strip():
                self.fault = "harmony markup without a final message"
                return
            self.thoughts += [
                part["text"].strip() for part in found if part["channel"].lower() == "analysis"
            ]
            self.text = finals[-1]["text"]
            self.notes.append("cut harmony markup, kept the final message")
            return
        bare = _BARE_HARMONY.match(self.text)
        if bare is not None:
            self.thoughts.append(bare["thought"].strip())
            self.text = bare["text"].rpartition("assistantfinal")[2]
            self.notes.append("cut harmony channels without their tokens, kept the final message")
        if (bare is not None and not self.text.strip()) or _BARE_ANALYSIS.match(self.text):
            self.fault = "harmony markup without a final message"

    def cut_header(self) -> None:
        """Remove the header of the assistant's own turn."""
        while found := _HEADER.match(self.text):
            self.text = self.text[found.end() :]
            self.notes.append(f"cut {found[0].strip()!r} at the start")

    def cut_thought(self) -> None:
        """Remove thinking without an opening tag, or between other tags than <think>."""
        own = _THINK.match(self.text)
        rest = self.text[own.end() :] if own else self.text
        if own is None:
            whole = _WHOLE_THOUGHT.match(rest)
            if whole is not None and not self._is_asked_for(_OPENING.match(whole[0].lstrip())):
                self._keep_thought(whole["thought"])
                rest = rest[whole.end() :]
        closings = [
            tag
            for tag in _CLOSING.finditer(rest)
            if not self._is_asked_for(tag) and not self._is_in_code(rest, tag)
        ]
        if closings and not _OPENING.search(rest[: closings[-1].start()]):
            self._keep_thought(rest[: closings[-1].start()])
            rest = rest[closings[-1].end() :]
            own = None
        solution = _SOLUTION.match(rest)
        if solution is not None:
            rest = solution["text"].strip()
            self.notes.append("cut the tags around the solution")
        self.text = (own[0] if own else "") + rest

    def cut_box(self) -> None:
        """Remove the tokens around a final answer, as GLM writes them."""
        if _BOX.search(self.text) and "_of_box" not in self.prompt:
            self.text = _BOX.sub("", self.text)
            self.notes.append("cut the tokens around the answer")

    def cut_after_end(self) -> None:
        """Remove the end of the turn and everything after it."""
        for token in _TOKEN.finditer(self.text):
            if token[0] in self.prompt or self._is_in_code(self.text, token):
                continue
            after = self.text[token.end() :]
            rest = _TOKEN.sub("", after).strip()
            ordinary = token[0].lower() in _ORDINARY or token["other"] is not None
            ordinary = ordinary or _ABOUT_TOKENS.search(self.prompt) is not None
            if rest and ordinary and not _TURN.match(rest):
                continue
            before = self.text[: token.start()]
            if not before.strip() or (rest and _NAME_ALONE.fullmatch(before)):
                self.fault = f"nothing stands before {token[0]!r}"
                return
            self.text = _LAST_TOKENS.sub("", self.text[: token.start()]).rstrip()
            self.notes.append(
                f"cut {token[0]!r} and {len(rest)} characters after it"
                if rest
                else f"cut {token[0]!r} at the end"
            )
            return

    def cut_wrapping(self) -> None:
        """Tags around the whole answer, as models write them that were trained to."""
        own = _THINK.match(self.text)
        before = own[0] if own else ""
        wrapped = _WRAPPED.match(self.text[len(before) :])
        if wrapped is None or _ASKS_FOR_TAGS.search(self.prompt):
            return
        self.text = before + ("\n" if before else "") + wrapped["text"].strip()
        self.notes.append(f"cut the <{wrapped['tag']}> tags around the answer")

    def cut_next_turn(self) -> None:
        """Labels of turns without control tokens: the assistant's own, and a user's it played."""
        label = _LABEL.match(self.text)
        if label and not _ASKS_FOR_TURNS.search(self.prompt) and not _is_dialogue(self.text):
            self.text = self.text[label.end() :]
            self.notes.append(f"cut {label[0].strip()!r} at the start")
        if _ASKS_FOR_TURNS.search(self.prompt) or _NEXT_TURN.search(self.prompt):
            return
        tight = _TIGHT_TURN.search(self.text)
        for found in (*_NEXT_TURN.finditer(self.text), *([tight] if tight else [])):
            before = self.text[: found.start()]
            if self._is_in_code(self.text, found):
                continue
            if not before.strip() or _ANSWERER.search(before):
                return
            self.notes.append(
                f"cut {len(self.text) - len(before)} characters from an invented turn on "
                f"({found[0].strip()!r})"
            )
            self.text = before.rstrip()
            return

    def find_rest(self) -> None:
        """Report thinking tags inside the answer whose extent is unclear."""
        own = _THINK.match(self.text)
        rest = self.text[own.end() :] if own else self.text
        for tag in (*_OPENING.finditer(rest), *_CLOSING.finditer(rest)):
            if self._is_asked_for(tag) or self._is_in_code(rest, tag):
                continue
            never = _OPENING.match(tag[0]) is not None and not _CLOSING.search(rest[tag.end() :])
            self.fault = (
                f"a {tag[0]} tag is never closed" if never else f"{tag[0]} inside the answer"
            )
            return
        if "\ufffd" in self.text and "\ufffd" not in self.prompt:
            count = self.text.count("\ufffd")
            self.notes.append(f"{count} invalid bytes of the reply are shown as U+FFFD")

    def _keep_thought(self, thought: str) -> None:
        self.thoughts.append(thought.strip())
        self.notes.append(f"cut a thought of {len(thought.strip())} characters")

    def _is_asked_for(self, tag: re.Match[str] | None) -> bool:
        """Whether the prompt mentions this tag, opening or closing."""
        if tag is None:
            return False
        return tag[0].lower().replace("/", "") in self.prompt.lower().replace("/", "")

    def _outside_code(self) -> str:
        return _CODE.sub("", self.text)

    def _is_in_code(self, text: str, found: re.Match[str]) -> bool:
        return any(
            code.start() <= found.start() and found.end() <= code.end()
            for code in _CODE.finditer(text)
        )


def _is_dialogue(text: str) -> bool:
    return len(_ANSWERER.findall(text)) > 1


_CANNOT = r"(?:can't|cannot|can\ not|won't|(?:am|are)\ (?:unable|not\ able)\ to|unable\ to)"
_SERVICE = (
    r"(?:assist|help|fulfil|comply|provide|answer|complete|create|write|generate|engage|discuss"
    r"|share|do\ that|continue|support|produce|participate)"
)
_REFUSAL = re.compile(
    rf"""\A [\s"'*_]* (?:
      (?:i'm|i\ am|we're|we\ are|my\ apologies|apologies|sorry)\b [^.!?\n]{{0,40}}?
        \b(?:i|we)\ {_CANNOT}
      | (?:i|we)\ (?:{_CANNOT}|must\ decline\ to)\ (?:\w+\ )?{_SERVICE}
      | as\ an?\ (?:ai|artificial\ intelligence|large\ language|language)\b [^.!?\n]{{0,60}}?
        \b(?:{_CANNOT}
          |do(?:n't|\ not)\ have\ (?:\w+\ )?(?:access|abilit|capabilit|information))
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_ASKS_TO_DECLINE = re.compile(
    r"\b(?:declin|refus|reject|apolog|turn(?:s|ed|ing)? down|say(?:s|ing)? no)", re.IGNORECASE
)

_LONGEST_REFUSAL_CHARS = 600

_NEW = r"(?:new|improved|better|revised|rewritten|refined|enhanced|updated|corrected)"
_OLD = r"(?:original|old|given|previous|provided|existing|initial)"
_PART = r"(?:response|answer|instruction|pair|reply)"
_META = re.compile(
    rf"""\b(?:the|this|your|my)\ {_OLD}\ {_PART}\b
      | \b(?:the|this|my|our)\ {_NEW}\ (?:and\ {_NEW}\ )?(?:version\ of\ the\ )?{_PART}\b
      | \bhere(?:'s|\ is)\ (?:a|an|the|my)\ (?:[\w,]+\ ){{0,3}}
        {_NEW}\ (?:\w+\ )?(?:version|{_PART})\b
      | \b(?:answer|response)\ to\ the\ (?:new\ |old\ )?instruction\b
      | \A\W*{_NEW}\ {_PART}\W*:
    """,
    re.IGNORECASE | re.VERBOSE,
)
_REMARK = re.compile(
    r"\b(?:the|this) (?:instruction|response) (?:is|was|does|has|lacks|now|above)\b"
    r"|\bthe instruction and (?:the )?(?:response|answer)\b",
    re.IGNORECASE,
)
_ABOUT_TEXTS = re.compile(
    r"\b(?:rewrit|rephras|paraphras|revis|improv|edit|critic|critique|feedback|review|evaluat"
    r"|compar|grad(?:e|ing)|rat(?:e|ing)|proofread|survey|prompt|correct|error|mistake|bug|fix)",
    re.IGNORECASE,
)
_EDGE_CHARS = 240  # talk about the task comes at the start or at the end of a text

_TEXT_NOUN = (
    r"(?:text|passage|sentences?|paragraph|poem|haiku|article|description|review|e-?mail|letter"
    r"|story|code|snippet|program|function|list|numbers?|words?|data(?:set)?|table|phrase|pronoun"
    r"|statement|document|quot(?:e|ation)|dialogue|conversation|input|prose|lyrics|speech)"
)
_POINTER = re.compile(
    rf"\b(?:the|this|these|those|each|following)\ (?:\w+\ ){{0,2}}{_TEXT_NOUN}\b", re.IGNORECASE
)
_OWN_TEXT = re.compile(r"""(?::\s|\n|["\u201c`])\W*\w+(?:\W+\w+){2}""")
_KEPT_FRACTION = 0.5  # of the words of the input that an instruction still has to hold
_MIN_INPUT_WORDS = 4

_PLACEHOLDER = re.compile(
    rf"""\W* (?: (?:insert|write|put|place|add)\ )? (?:(?:the|your|a|an)\ )?
      (?:(?:complete|full|{_NEW})\ )* {_PART} (?:\ (?:goes|text))? (?:\ (?:here|below))? \W*
      | [.\u2026_\-\s]+""",
    re.IGNORECASE | re.VERBOSE,
)


def is_refusal(text: str) -> bool:
    """Whether a short text begins with a typical refusal.

    A long text that begins so goes on to say something after all ("I cannot decide for you, but
    here is what to think of ..."); whether that is worth training on is up to the student.

    Examples:
        >>> is_refusal("I'm sorry, but I can't help with that.")
        True
        >>> is_refusal("I am sorry for your loss.")
        False
    """
    return len(text) <= _LONGEST_REFUSAL_CHARS and _REFUSAL.match(_plain(text)) is not None


def asks_to_decline(instruction: str) -> bool:
    """Whether the right answer to an instruction may be a text that declines something."""
    return _ASKS_TO_DECLINE.search(instruction) is not None


def meta_talk_in(text: str) -> str | None:
    """Words with which a text talks about the pair it replaces, or None.

    Examples:
        >>> meta_talk_in("The original response was too short.")
        'The original response'
        >>> meta_talk_in("The immune response has two phases.")
    """
    text = _plain(text)
    for edge in (text[:_EDGE_CHARS], text[_EDGE_CHARS:][-_EDGE_CHARS:]):
        found = _META.search(edge)
        if found is not None:
            return found[0].strip()
    return None


def remark_in(instruction: str) -> str | None:
    """Words with which an instruction comments on itself or its answer, or None.

    Examples:
        >>> remark_in("Name a river. The instruction is clear and specific.")
        'The instruction is'
        >>> remark_in("Name a river. The response should be one word.")
    """
    found = _REMARK.search(instruction)
    return None if found is None else found[0]


def lost_input_of(new: str, *, old: str) -> str | None:
    r"""Words by which a new instruction refers to a text that only the old one held, or None.

    The text is what follows the first line of the old instruction, as in Alpaca's `input`. A new
    instruction that brings a text of its own, after a colon, in quotes or on a line, lost nothing.

    Examples:
        >>> lost_input_of("Summarise the text in a line.", old="Summarise.\nIt rained all of May.")
        'the text'
        >>> lost_input_of("How much does it rain in May?", old="Summarise.\nIt rained all of May.")
    """
    held = _words(old.partition("\n")[2])
    if len(held) < _MIN_INPUT_WORDS or len(held & _words(new)) >= _KEPT_FRACTION * len(held):
        return None
    found = _POINTER.search(new)
    if found is None or _OWN_TEXT.search(new, found.end()) is not None:
        return None
    noun = re.escape(found[0].split()[-1])
    asked_for = re.search(rf"\b(?:an?|some|your)\ (?:[\w-]+\ ){{0,3}}{noun}\b", new, re.IGNORECASE)
    return None if asked_for else found[0]


def is_about_texts(instruction: str) -> bool:
    """Whether an instruction is about a text, so that its answer may talk about one."""
    plain = _plain(instruction)
    return _ABOUT_TEXTS.search(plain) is not None or _META.search(plain) is not None


def is_placeholder(text: str) -> bool:
    """Whether a text consists of a placeholder only.

    Examples:
        >>> is_placeholder("[Your new instruction here]")
        True
        >>> is_placeholder("Answer the door.")
        False
    """
    return _PLACEHOLDER.fullmatch(text.strip()) is not None


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


def _plain(text: str) -> str:
    return text.replace("\u2019", "'")
