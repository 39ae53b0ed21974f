"""Refinement: rewrites by a teacher (reflection) and new responses (sampling)."""

from tutelage.refinement.config import RefineSettings, SampleSettings
from tutelage.refinement.prompt import Prompt, load_prompt
from tutelage.refinement.reflection import (
    candidate_of_reply,
    fault_of_tools,
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
    rewrite_step,
)
from tutelage.refinement.reply_parser import Draft
from tutelage.refinement.sample import (
    SAME_TEXT,
    Crowd,
    sample_in_waves,
    sample_of_reply,
    sample_request,
)
from tutelage.refinement.statuses import REFINEMENT_STATUSES

__all__ = [
    "REFINEMENT_STATUSES",
    "SAME_TEXT",
    "Complaint",
    "Crowd",
    "Draft",
    "Prompt",
    "RefineSettings",
    "Rejected",
    "SampleSettings",
    "candidate_of_reply",
    "fault_of_tools",
    "load_prompt",
    "prompt_of",
    "reflect",
    "reflect_all",
    "reflection_request",
    "rewrite",
    "rewrite_all",
    "rewrite_step",
    "sample_in_waves",
    "sample_of_reply",
    "sample_request",
]
