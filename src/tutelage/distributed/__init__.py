"""Scoring and local teachers on a pool of Ray workers.

Handed to the pipeline by whoever calls it: `Doors(workers=RayWorkers())`.
"""

from tutelage.distributed.workers import RayWorkers

__all__ = ["RayWorkers"]
