"""Training, calibration and registration of descriptors.

>>> sidecar = train(Path("photographs"), Path("trained"), init="mobilenet_v3")
>>> descriptor = load_descriptor(str(sidecar))
"""

# ruff: noqa: E402 - what the next imports need is looked for first
from idedup_tasks.extras import require

require("torchvision", "Training")

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
