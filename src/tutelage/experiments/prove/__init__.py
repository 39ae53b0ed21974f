"""Train each student on each set with each seed, evaluate, and compare with the baselines."""

from tutelage.experiments.prove.config import ProveSettings, load_prove_settings
from tutelage.experiments.prove.forecast import forecast
from tutelage.experiments.prove.prove_job import prove

__all__ = ["ProveSettings", "forecast", "load_prove_settings", "prove"]
