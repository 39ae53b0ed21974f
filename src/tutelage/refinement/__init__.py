"""Refinement: rewrites by a teacher (reflection) and new responses (sampling)."""

from tutelage.refinement.config import RefineSettings, SampleSettings
from tutelage.refinement.prompt import Prompt, load_prompt
from tutelage.refinement.reflection import (
    candidate_of_reply,
    fault_of_tools,
    form_of,
    prompt_of,
    reflect,
    reflect_all,
    reflection_request,
)
from tutelage.refinement.rejected_rewrite import (
    Complaint,
    Rejected,
    rewrite,
    rewrite_all,
    rewrite_request,
    rewrite_step,
)
from tutelage.refinement.reply_parser import Draft, Fault, parse_reply, parse_sample
from tutelage.refinement.sample import (
    SAME_TEXT,
    Accept,
    Crowd,
    sample_in_waves,
    sample_of_reply,
    sample_one,
    sample_request,
)
from tutelage.refinement.statuses import REFINEMENT_STATUSES

__all__ = [
    "REFINEMENT_STATUSES",
    "SAME_TEXT",
    "Accept",
    "Complaint",
    "Crowd",
    "Draft",
    "Fault",
    "Prompt",
    "RefineSettings",
    "Rejected",
    "SampleSettings",
    "candidate_of_reply",
    "fault_of_tools",
    "form_of",
    "load_prompt",
    "parse_reply",
    "parse_sample",
    "prompt_of",
    "reflect",
    "reflect_all",
    "reflection_request",
    "rewrite",
    "rewrite_all",
    "rewrite_request",
    "rewrite_step",
    "sample_in_waves",
    "sample_of_reply",
    "sample_one",
    "sample_request",
]
