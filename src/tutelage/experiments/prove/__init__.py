"""Prove: train students on the selection and on baselines, evaluate and compare."""

from tutelage.experiments.prove.config import ProveSettings, load_prove_settings
from tutelage.experiments.prove.forecast import forecast
from tutelage.experiments.prove.run import prove

__all__ = ["ProveSettings", "forecast", "load_prove_settings", "prove"]
