"""The one place that names the container image of every task; set RADIOGRAFT_TRAINER_IMAGE when compiling."""

import os

TRAINER_IMAGE = os.environ.get("RADIOGRAFT_TRAINER_IMAGE", "radiograft/trainer:0.1.0")
