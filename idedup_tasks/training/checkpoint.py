"""What a run that is stopped or killed goes on from: one safetensors file."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from idedup_tasks.training.learner import Curves, Learner
from idedup_tasks.training.recipes import TrainingError


def save(learner: Learner, path: Path) -> None:
    """Write a checkpoint that replaces the last one whole."""
    tensors = {f"network.{k}": v for k, v in learner.network.state_dict().items()}
    tensors |= {f"averaged.{k}": v for k, v in learner.averaged.state_dict().items()}
    for i, state in learner.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{k}": v for k, v in state.items()}
    if learner.neighbours is not None:
        tensors["neighbours"] = torch.from_numpy(learner.neighbours)
    tensors = {k: v.contiguous().clone() for k, v in tensors.items()}
    metadata = {
        "step": str(learner.step),
        "curves": json.dumps(asdict(learner.curves)),
        "epoch": json.dumps(learner.epoch),
        "seconds": json.dumps(learner.seconds),
        "spent": json.dumps(learner.spent),
        "architecture": learner.recipe.architecture,
    }
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata)
    part.replace(path)


def restore(learner: Learner, path: Path) -> None:
    """Let a new learner continue from a checkpoint.

    Raises TrainingError where it is damaged or of another network.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        for part, network in (("network.", learner.network), ("averaged.", learner.averaged)):
            network.load_state_dict(
                {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)}
            )
    except (OSError, RuntimeError, SafetensorError) as error:
        raise TrainingError(
            f"{path} is no checkpoint of a {learner.recipe.architecture} of {learner.recipe.dim} "
            f"dimensions; give another output folder or remove it ({str(error)[:200]})"
        ) from error
    learner.step = int(metadata["step"])
    if "neighbours" in tensors:
        learner.neighbours = tensors["neighbours"].numpy()
    learner.spent = json.loads(metadata.get("spent", "0.0"))
    learner.curves = Curves(**json.loads(metadata["curves"]))
    learner.epoch = [tuple(pair) for pair in json.loads(metadata.get("epoch", "[]"))]
    seconds = json.loads(metadata.get("seconds", "null"))
    if seconds is not None and learner.recipe.minutes is not None:
        learner.plan(seconds)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, i, key = name.split(".")
            state.setdefault(int(i), {})[key] = value
    content = learner.optimizer.state_dict()
    learner.optimizer.load_state_dict({"state": state, "param_groups": content["param_groups"]})
