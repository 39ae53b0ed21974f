"""Connection to a Ray cluster; Ray is imported only when it is used."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tutelage.errors import MissingExtraError, RunError
from tutelage.pipeline.config import RaySettings


@contextmanager
def joined(settings: RaySettings) -> Iterator[Any]:
    """Context manager with the connected module `ray`; a cluster started here ends with the block.

    A program that has called `ray.init` itself keeps its cluster.

    Raises:
        MissingExtraError: Ray is not installed.
        RunError: There is no such cluster.
    """
    # Ray writes a warning about its own future otherwise; nothing here uses its GPU variables.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(
            "the engine ray needs Ray", hint="pip install 'tutelage[ray]', or --engine local"
        ) from error
    if ray.is_initialized():
        yield ray
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    logging.getLogger("ray").setLevel(logging.ERROR)  # it speaks before it obeys
    try:
        if settings.address == "local":
            # One more than the workers take: with all taken, nothing could read their input.
            cpus = settings.workers * settings.worker_cpus + 1
            ray.init(address="local", num_cpus=cpus, include_dashboard=False, **quiet)
        else:
            ray.init(address=settings.address, **quiet)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise RunError(
            f"the Ray cluster {settings.address!r} cannot be joined: {error}",
            hint="start one with `ray start --head`, or leave the address at local",
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def worker_environment(settings: RaySettings) -> dict[str, Any]:
    """Environment of a worker: as many threads as it has processors, none of them spinning."""
    return {
        "env_vars": {
            "OMP_NUM_THREADS": str(settings.worker_cpus),
            "OMP_WAIT_POLICY": "PASSIVE",
            "TOKENIZERS_PARALLELISM": "false",
        }
    }
