"""Training, calibration and registration of descriptors.

>>> sidecar = train(Path("photographs"), Path("trained"), init="mobilenet_v3")
>>> descriptor = load_descriptor(str(sidecar))

Recipes can be named without PyTorch; what trains needs it, and raises ExtraMissing without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from idedup_tasks.training.recipes import RECIPES, Recipe, TrainingError, recipe_for

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    # On first use: importing a recipe imports this module too.
    if name in __all__:
        from idedup_tasks.training import run

        return getattr(run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
