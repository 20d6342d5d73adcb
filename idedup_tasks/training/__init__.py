"""Training, calibration and registration of descriptors.

>>> sidecar = train(Path("photographs"), Path("trained"), init="mobilenet_v3")
>>> descriptor = load_descriptor(str(sidecar))
"""

from idedup_tasks.training.learn import RECIPES, Recipe, recipe_for
from idedup_tasks.training.photos import TrainingError
from idedup_tasks.training.run import Registration, register, ship, train

__all__ = [
    "RECIPES",
    "Recipe",
    "Registration",
    "TrainingError",
    "recipe_for",
    "register",
    "ship",
    "train",
]
