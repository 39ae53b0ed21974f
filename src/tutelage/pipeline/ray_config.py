"""How many workers a stage has, and on which cluster."""

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

EngineName: TypeAlias = Literal["local", "ray"]


class RaySettings(BaseModel):
    """A pool of workers on one machine or on many; used where the engine is `ray`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    address: str = Field(
        default="local",
        min_length=1,
        description="local: start Ray on this machine. auto: join the cluster this machine "
        "belongs to. Or ray://HOST:PORT.",
    )
    workers: int = Field(default=2, ge=1, description="How many actors, each with its own model.")
    worker_cpus: int = Field(
        default=1, ge=1, description="The processors of one worker; as many threads compute."
    )
    worker_gpus: float = Field(
        default=0, ge=0, description="The graphics cards of one worker: 1, or a share of one."
    )
