"""Training of a student on a set of rows, with TRL.

    rows --> token ids and labels --> TRL's SFTTrainer --> a folder that the student package opens
             (tutelage.student)

`B` rows, `T` positions, as in `tutelage.student`. Loss is on responses and their end of turn.
"""

from tutelage.training.config import TrainSettings
from tutelage.training.processes import first_writes, launched
from tutelage.training.tokenized_rows import Encoded, LeftOut, TrainingRow, encode_file
from tutelage.training.trackers import (
    PROJECT,
    TRACKERS,
    Followed,
    Tracker,
    Tracking,
    current_tracking,
    tracked,
    tracked_run,
)
from tutelage.training.train import Trained, refuse_other_rows, train_student, training_speed
from tutelage.training.trainer_parity import RowTruth, Truth, check_truth

__all__ = [
    "PROJECT",
    "TRACKERS",
    "Encoded",
    "Followed",
    "LeftOut",
    "RowTruth",
    "Tracker",
    "Tracking",
    "TrainSettings",
    "Trained",
    "TrainingRow",
    "Truth",
    "check_truth",
    "current_tracking",
    "encode_file",
    "first_writes",
    "launched",
    "refuse_other_rows",
    "tracked",
    "tracked_run",
    "train_student",
    "training_speed",
]
