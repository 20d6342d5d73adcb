"""What can be trained and how: a recipe for each network.

Importing this needs no PyTorch, so that the command line and a DAG's form can name the networks.
Most learn from copies, whose loss is InfoNCE over the batch (Oord et al. 2018) plus the KoLeo
entropy term (Sablayrolles et al. 2019), as in SSCD (Pizzi et al., A Self-Supervised Descriptor for
Image Copy Detection, 2022); the paper's own learns from pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from idedup_tasks.errors import TerminalError

# Steps after which a run with a time budget fixes how many it makes.
MEASURED_STEPS = 20

# More steps than any run makes: only time or epochs limit it.
UNLIMITED = 10**7


class TrainingError(TerminalError):
    """The photographs, the recipe or the earlier state given to training cannot be used."""


@dataclass(frozen=True)
class Recipe:
    """How a descriptor is learnt.

    objective: "copies" or "pairs" (the paper's), see `objectives`.
    steps: how many at most.
    minutes: how long to learn, about; decoding and calibrating are not counted. The run's first 20
        steps are timed, and how many fit is then fixed and kept with the checkpoint, so that a
        run that is stopped and continued makes the same steps at the same rates.
    cpu_seconds: how much processor time to learn with: that of the views, the steps, mining and
        validation, over all threads, whatever else the machine does. A run that is killed goes on
        with what its checkpoint has left. The rate falls over the last share of the time, not of
        the steps, so how many there are is only known at the end.
    epochs: at most so many (0: as many as there are steps).
    patience: epochs without better validation accuracy after which to stop (0: never).
    sides: input sides in pixels while learning; steps take them in turn.
    input_sides: input sides that calibration chooses from; head and background are fitted at the
        first.
    regions: windows along each side that have a vector of their own; 0 for none.
    inner: pictures that lie in an image and have a vector of their own; 0 for none.
    scales: sizes relative to the input side at which the finished network sees each image.
    images: photographs in a batch; "copies" sees each as one mild and `strong_views` strongly
        edited views.
    hard: share of a batch that is drawn from neighbours of the others, once these are known.
    cooldown: the last share of the steps (or of `cpu_seconds`), over which the learning rate falls;
        before it the rate is constant, so that a run can be lengthened: more steps continue the
        same checkpoint.
    average: decay of the moving average of the weights, per step; 0: no average.
    """

    architecture: str = "mobilenet_v3_small"
    dim: int = 256
    gem_p: float = 3.0
    objective: str = "copies"
    steps: int = 5000
    minutes: float | None = None
    cpu_seconds: float | None = None
    epochs: int = 0
    patience: int = 0
    images: int = 128
    strong_views: int = 1
    hard: float = 0.5
    sides: tuple[int, ...] = (96, 128, 160)
    input_sides: tuple[int, ...] = (192,)
    scales: tuple[float, ...] = (1.0, 0.6667, 0.5)
    regions: int = 3
    inner: int = 2
    learning_rate: float = 1e-3
    cooldown: float = 0.25
    weight_decay: float = 0.01
    temperature: float = 0.05
    koleo: float = 0.5
    average: float = 0.998
    seed: int = 0

    def side(self, step: int) -> int:
        """Input side at a step."""
        return self.sides[step % len(self.sides)]

    def rate(self, step: int, spent: float = 0.0) -> float:
        """Learning rate at a step, after `spent` CPU seconds: linear warm-up over 100 steps (or a
        tenth of a shorter run), constant, then down in a line to a hundredth (Hägele et al.,
        Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations, 2024)."""
        warm = min(1.0, (step + 1) / max(1, min(100, self.steps // 10)))
        left = (self.steps - step) / max(1.0, self.cooldown * self.steps)
        if self.cpu_seconds and self.cooldown:
            left = min(left, (1 - spent / self.cpu_seconds) / self.cooldown)
        return self.learning_rate * warm * max(0.01, min(1.0, left))

    def steps_in(self, seconds_per_step: float) -> int:
        """How many steps fit into `minutes`."""
        if self.minutes is None:
            return self.steps
        fitting = round(60 * self.minutes / seconds_per_step)
        return min(self.steps, max(MEASURED_STEPS, fitting))


# Beside the default, the networks that the paper compares: an equal budget at low resolution.
COMPARED = Recipe(
    steps=UNLIMITED,
    minutes=20,
    images=64,
    sides=(64,),
    input_sides=(64, 96),
    scales=(1.0,),
    regions=0,
    inner=0,
)

RECIPES = {
    "mobilenet_v3": Recipe(),
    "mobilenet_v3_large": Recipe(architecture="mobilenet_v3_large"),
    # As the paper has it. It gives no schedule of the learning rate (here constant after the
    # warm-up), no patience (here 5 epochs) and no pooling (here the default's).
    "idedupnet": Recipe(
        architecture="idedupnet",
        objective="pairs",
        steps=UNLIMITED,
        epochs=50,
        patience=5,
        images=64,
        hard=0.0,
        sides=(224,),
        input_sides=(224,),
        scales=(1.0,),
        regions=0,
        inner=0,
        cooldown=0.0,
        weight_decay=1e-4,
        average=0.0,
    ),
    "resnet50": replace(COMPARED, architecture="resnet50"),
    "densenet121": replace(COMPARED, architecture="densenet121"),
    "lenet": replace(COMPARED, architecture="lenet"),
    "unet": replace(COMPARED, architecture="unet"),
}


def recipe_for(
    network: str,
    steps: int | None = None,
    minutes: float | None = None,
    side: int | None = None,
    images: int | None = None,
    cpu_seconds: float | None = None,
) -> Recipe:
    """A network's recipe with another budget, input side or batch.

    Of steps, minutes and cpu_seconds, those that are not given do not limit the run where another
    is. Raises TrainingError for a network that is not in RECIPES.
    """
    if network not in RECIPES:
        raise TrainingError(f"network {network!r} is not known; choose {', '.join(RECIPES)}")
    recipe = RECIPES[network]
    if steps is not None or minutes is not None or cpu_seconds is not None:
        limit = UNLIMITED if steps is None else steps
        recipe = replace(recipe, steps=limit, minutes=minutes, cpu_seconds=cpu_seconds)
    if side is not None:
        recipe = replace(recipe, sides=(side,), input_sides=(side,))
    return recipe if images is None else replace(recipe, images=images)
