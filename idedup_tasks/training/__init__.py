"""Training, calibration, evaluation and registration of descriptors.

>>> sidecar = train(Path("photographs"), Path("trained"), init="mobilenet_v3")
>>> descriptor = load_descriptor(str(sidecar))
"""

from idedup_tasks.training.learn import Recipe
from idedup_tasks.training.photos import TrainingError
from idedup_tasks.training.run import register, train

__all__ = ["Recipe", "TrainingError", "register", "train"]
