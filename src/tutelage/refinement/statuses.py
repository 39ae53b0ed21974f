"""Why a reply did not become a candidate with text. The words are part of every report."""

from tutelage.data import OK

CUT_BY_LENGTH = "cut_by_length"
"""The teacher hit its token limit; a cut reply is never taken for a whole one."""

REFUSED = "refused"
"""The teacher declined, or its server filtered the reply."""

ECHOED_PROMPT = "echoed_prompt"
"""The new text holds sentences, markers or placeholders of our own prompt."""

UNPARSEABLE = "unparseable"
"""The reply does not follow the format, or follows it in two ways at once."""

CHAT_MARKUP = "chat_markup"
"""Control tokens of a chat template in the reply, of which nobody can say what they enclose."""

HALF_PARSED = "half_parsed"
"""One of instruction and response is missing: they are replaced together or not at all."""

EMPTY_INSTRUCTION = "empty_instruction"
EMPTY_RESPONSE = "empty_response"

UNCLEAR_END = "unclear_end"
"""Neither the reply nor the server says that the reply is whole."""

UNCHANGED = "unchanged"
"""The same as the parent, up to white space."""

HALF_CHANGED = "half_changed"
"""Only one half of the pair is new where both had to be: an old half never joins a new one."""

UNDER_MIN_LENGTH = "under_min_length"
OVER_MAX_LENGTH = "over_max_length"

DEGENERATE = "degenerate"
"""The text loops, or the response only repeats the instruction."""

META_TALK = "meta_talk"
"""The text talks about the pair it should replace instead of standing on its own."""

LOST_INPUT = "lost_input"
"""The new instruction speaks of a text that the old one held and the new one does not."""

WRONG_LANGUAGE = "wrong_language"
"""The text is in another script than the pair it was made from."""

DUPLICATE_SAMPLE = "duplicate_sample"
"""An earlier sample of the same example has the same text, up to white space."""

TEACHER_FAILED = "teacher_failed"
NOT_IN_JOURNAL = "not_in_journal"
"""Only journaled replies were allowed, and this one is not among them."""

WAITING_FOR_BATCH = "waiting_for_batch"
"""The request waits in a provider's batch; the same command collects it later."""

BATCH_EXPIRED = "batch_expired"
BATCH_CANCELLED = "batch_cancelled"
"""The batch ended without a reply to this request; the next run asks again."""

OVER_BUDGET = "over_budget"
"""Not asked, because the cap on cost would have been passed."""

PARENT_FAILED = "parent_failed"
"""Not asked, because the candidate to refine has no text."""

USES_TOOLS = "uses_tools"
"""Not asked, because tools belong to the row: a new instruction would stand in front of calls
made for the old one, or the teacher would have to call tools itself."""

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
"""Faults of form that another seed and temperature may mend. A refusal, a cut or an unchanged
text is the teacher's considered answer: asking again costs money and is unlikely to help. (A
reply that was cut while it looped is asked for again: greedy loops end with the temperature.)"""

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
"""Every status this room gives."""
