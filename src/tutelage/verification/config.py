"""Settings of a verification."""

import os
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

CheckName: TypeAlias = Literal[
    "maths", "number", "choice", "exact", "code", "constraints", "judge", "extension"
]


class VerifySettings(BaseModel):
    """Settings of a verification: the check and its limits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: CheckName = Field(
        default="maths",
        description="maths: final answer against a reference, with algebra where needed (extra "
        "maths); number: the same without algebra; choice: a letter or the text of one of the "
        "choices; exact: the text; code: run the tests in a sandbox; constraints: IFEval-kind "
        "instructions; judge: ask a model; extension: ask a function of the user.",
    )
    function: str | None = Field(
        default=None, description="extension: the check's name in the file of extensions."
    )
    processes: int = Field(
        default=max(1, min(8, os.cpu_count() or 1)),
        ge=1,
        description="maths, code: how many rows are checked at once.",
    )
    time_limit_seconds: int = Field(
        default=5,
        ge=1,
        description="maths: processor time of each step of a comparison; code: of a program.",
    )
    memory_mebibytes: int = Field(
        default=2048, ge=64, description="maths: address space of a worker."
    )
    program_memory_mebibytes: int = Field(
        default=512, ge=64, description="code: address space of each process of a program."
    )
    allow_weak_sandbox: bool = Field(
        default=False,
        description="code: run programs even where the system offers no isolation, with time, "
        "memory, file and process limits only. Only for programs you trust.",
    )
    ignore_case: bool = Field(default=True, description="exact: whether A and a are the same.")
