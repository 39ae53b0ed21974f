"""Prove: train students on the selection and on baselines, evaluate and compare."""

from tutelage.experiments.prove.run import prove

__all__ = ["prove"]
