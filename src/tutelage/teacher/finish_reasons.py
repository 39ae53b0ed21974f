"""Reasons to stop as servers spell them, and what each one means."""

import re
from typing import Literal, TypeAlias

Ending: TypeAlias = Literal["whole", "cut", "filtered", "failed", "unknown"]

UNKNOWN = "unknown"
"""The finish reason of a reply whose server gave none."""

_WHOLE = frozenset(
    (
        *("stop", "stopped", "eos", "eos_token", "eos_found", "end_turn", "stop_sequence"),
        *("stop_token", "stop_str", "end_of_turn", "complete", "completed", "done", "finished"),
        *("end", "finish", "success"),
    )
)
_CUT = frozenset(
    (
        *("length", "max_tokens", "model_length", "max_length", "max_output_tokens", "limit"),
        *("token_limit", "max_new_tokens", "max_completion_tokens", "incomplete", "truncated"),
        *("context_length", "context_length_exceeded", "model_context_window_exceeded"),
        *("error_limit", "max_context"),
    )
)
_FILTERED = frozenset(
    (
        *("content_filter", "content_filtered", "refusal", "refused", "safety", "recitation"),
        *("blocklist", "prohibited_content", "spii", "image_safety", "guardrail_intervened"),
        *("error_toxic", "sensitive", "moderation", "flagged", "language", "blocked"),
    )
)
_FAILED = frozenset(
    (
        *("error", "abort", "aborted", "cancelled", "canceled", "timeout", "network_error"),
        *("insufficient_system_resource", "server_error", "internal_error", "overloaded"),
    )
)


def ending_of(finish_reason: str | None) -> Ending:
    """What a reason to stop says about the reply; case and separators do not matter.

    Examples:
        >>> ending_of("STOP"), ending_of("FinishReason.MAX_TOKENS"), ending_of("content-filter")
        ('whole', 'cut', 'filtered')
        >>> ending_of(None), ending_of("tool_calls")
        ('unknown', 'unknown')
    """
    if finish_reason is None:
        return "unknown"
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", finish_reason.strip().rpartition(".")[2])
    name = re.sub(r"[\s_-]+", "_", spaced.lower()).removeprefix("finish_reason_")
    if name in _WHOLE:
        return "whole"
    if name in _CUT:
        return "cut"
    if name in _FILTERED:
        return "filtered"
    return "failed" if name in _FAILED else "unknown"
