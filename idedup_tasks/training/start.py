"""What a network starts from: nothing, a file, a descriptor, or torchvision's published weights."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from idedup_tasks.descriptors import load_card
from idedup_tasks.descriptors.network import ARCHITECTURES, DescriptorNetwork, see_zero_to_one
from idedup_tasks.training.recipes import Recipe, TrainingError


def starting_weights(init: str | None) -> str | None:
    """Turn the name of a shipped descriptor into the path of its weights."""
    if init is None or init == "imagenet" or Path(init).is_file():
        return init
    card = load_card(init)
    return str(card.folder / card.weights)


def initial_network(recipe: Recipe, init: str | None) -> DescriptorNetwork:
    """A network to start from.

    `init` is None (random weights from the seed), the path of a safetensors file in this package's
    layout, or "imagenet": torchvision's published weights of the features, which it downloads
    unless they are in its cache. The paper's network also takes the features of a MobileNetV3 whose
    head is linear, such as the shipped descriptor; its own head is random then. Raises
    TrainingError where the file does not fit the network, where none are published, or where they
    cannot be had.
    """
    torch.manual_seed(recipe.seed)
    published = ARCHITECTURES[recipe.architecture].published
    if init == "imagenet" and published is None:
        raise TrainingError(
            f"torchvision publishes no weights of {recipe.architecture}; start from a safetensors "
            "file or from nothing"
        )
    try:
        network = DescriptorNetwork(
            recipe.architecture, recipe.dim, recipe.gem_p, published=init == "imagenet"
        )
    except OSError as error:
        raise TrainingError(
            f"torchvision's weights of {recipe.architecture} cannot be downloaded ({error}); save "
            f"{published.url} as {torch.hub.get_dir()}/checkpoints/{Path(published.url).name}, or "
            "start from a safetensors file or from nothing"
        ) from error
    if init not in (None, "imagenet"):
        try:
            state = load_file(init)
            # It belongs to weights that are finished, and is found anew for these.
            state.pop("background", None)
            if ARCHITECTURES[recipe.architecture].zero_to_one and "head.weight" in state:
                prefix = "features."
                network.features.load_state_dict(
                    {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
                )
                see_zero_to_one(network.features)
            else:
                network.load_state_dict(state)
        except (OSError, RuntimeError, SafetensorError) as error:
            raise TrainingError(
                f"{init} cannot start a {recipe.architecture} of {recipe.dim} dimensions; give "
                f"its own safetensors weights, imagenet or nothing ({str(error)[:200]})"
            ) from error
    return network
