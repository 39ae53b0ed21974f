"""Scoring, local teachers and the cells of experiments on a pool of Ray workers.

Passed to the pipeline by its caller: `Doors(workers=RayWorkers())`.
"""

from tutelage.distributed.experiment_cells import RayCells, cells_elsewhere
from tutelage.distributed.workers import RayWorkers

__all__ = ["RayCells", "RayWorkers", "cells_elsewhere"]
