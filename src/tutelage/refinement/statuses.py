"""Statuses of replies that did not become a candidate with text; they appear in reports."""

from tutelage.data import OK

CUT_BY_LENGTH = "cut_by_length"
"""The teacher reached its token limit; a truncated reply is never used."""

REFUSED = "refused"
"""The teacher declined, or its server filtered the reply."""

ECHOED_PROMPT = "echoed_prompt"
"""The new text contains sentences, markers or placeholders of our own prompt."""

UNPARSEABLE = "unparseable"
"""The reply does not follow the format, or is ambiguous."""

CHAT_MARKUP = "chat_markup"
"""The reply contains control tokens of a chat template whose extent is unclear."""

HALF_PARSED = "half_parsed"
"""The instruction or the response is missing: they are replaced together or not at all."""

EMPTY_INSTRUCTION = "empty_instruction"
EMPTY_RESPONSE = "empty_response"

UNCLEAR_END = "unclear_end"
"""Neither the reply nor the server says that the reply is complete."""

UNCHANGED = "unchanged"
"""The text is the same as the parent's, up to white space."""

HALF_CHANGED = "half_changed"
"""Status of a rewrite with only one new half where both had to be new; old and new halves are
never combined."""

UNDER_MIN_LENGTH = "under_min_length"
OVER_MAX_LENGTH = "over_max_length"

DEGENERATE = "degenerate"
"""The text loops, or the response only repeats the instruction."""

META_TALK = "meta_talk"
"""The text talks about the pair that it should replace."""

LOST_INPUT = "lost_input"
"""The new instruction refers to a text that only the old one contained."""

WRONG_LANGUAGE = "wrong_language"
"""The text is in another script than the pair from which it was made."""

DUPLICATE_SAMPLE = "duplicate_sample"
"""An earlier sample of the same example has the same text, up to white space."""

TEACHER_FAILED = "teacher_failed"
NOT_IN_JOURNAL = "not_in_journal"
"""A replay found no cached reply to this request."""

WAITING_FOR_BATCH = "waiting_for_batch"
"""The request waits in a provider's batch; the same command collects it later."""

BATCH_EXPIRED = "batch_expired"
BATCH_CANCELLED = "batch_cancelled"
"""The batch ended without a reply to this request; the next run sends it again."""

OVER_BUDGET = "over_budget"
"""The request was not sent because the cost limit could have been exceeded."""

PARENT_FAILED = "parent_failed"
"""The request was not sent because the candidate to refine has no text."""

USES_TOOLS = "uses_tools"
"""The request was not sent because the row uses tools: a new instruction would precede calls made
for the old one, or the teacher would have to call tools itself.
"""

RETRIED = frozenset(
    {
        UNPARSEABLE,
        CHAT_MARKUP,
        HALF_PARSED,
        ECHOED_PROMPT,
        EMPTY_INSTRUCTION,
        EMPTY_RESPONSE,
        DEGENERATE,
        META_TALK,
        LOST_INPUT,
        WRONG_LANGUAGE,
        HALF_CHANGED,
    }
)
"""Format faults that another seed and temperature may avoid. A refusal, a cut or an unchanged text
is the teacher's considered answer: another attempt costs money and rarely helps. (A reply that was
cut while it looped is repeated: greedy loops end with the temperature.)
"""

REFINEMENT_STATUSES = frozenset(
    {
        OK,
        CUT_BY_LENGTH,
        REFUSED,
        UNCLEAR_END,
        UNCHANGED,
        UNDER_MIN_LENGTH,
        OVER_MAX_LENGTH,
        DUPLICATE_SAMPLE,
        TEACHER_FAILED,
        NOT_IN_JOURNAL,
        WAITING_FOR_BATCH,
        BATCH_EXPIRED,
        BATCH_CANCELLED,
        OVER_BUDGET,
        PARENT_FAILED,
        USES_TOOLS,
    }
    | RETRIED
)
"""Every status that refinement gives."""
