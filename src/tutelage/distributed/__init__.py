"""Scoring, local teachers, trainings and the cells of experiments on Ray workers.

Passed to the pipeline by its caller: `Doors(workers=RayWorkers())`.
"""

from tutelage.distributed.ray_tasks import RayCells, cells_elsewhere, runs_on_ray
from tutelage.distributed.score_job import RayWorkers

__all__ = ["RayCells", "RayWorkers", "cells_elsewhere", "runs_on_ray"]
