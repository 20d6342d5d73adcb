"""A descriptor by its name: shipped with this package, registered in the lake, or a file."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from idedup_tasks.descriptors.card import (
    REGISTERED_AS,
    DecisionLevels,
    DescriptorCard,
    DescriptorError,
    checked_file,
    is_model_id,
    read_card,
)
from idedup_tasks.descriptors.registry import registered_card

if TYPE_CHECKING:
    import numpy as np

DEFAULT_DESCRIPTOR = "mobilenet_v3"
WEIGHTS_FOLDER = Path(__file__).parent / "weights"


class DescriptorInfo(NamedTuple):
    """What can be known of a descriptor before it is loaded."""

    model_id: str
    dim: int
    thresholds: DecisionLevels


def load_card(name: str = DEFAULT_DESCRIPTOR) -> DescriptorCard:
    """Read the sidecar of a descriptor.

    `name` is a shipped descriptor's ("mobilenet_v3"), the model_id of a registered one
    ("mobilenet_v3-0123abcd", see `registry`), or the path of the JSON file that training wrote.
    Raises DescriptorError where there is none.
    """
    return read_card(card_path(name))


def card_path(name: str) -> Path:
    """Where the sidecar of a descriptor lies on this machine; fetched there from a remote lake."""
    if name.endswith(".json"):
        path = Path(name)
    else:
        path = WEIGHTS_FOLDER / f"{name}.json"
        if is_model_id(name) and not path.is_file():
            shipped = WEIGHTS_FOLDER / f"{name.rpartition('-')[0]}.json"
            if shipped.is_file() and read_card(shipped).model_id(REGISTERED_AS) == name:
                return shipped
            return registered_card(name)
    if not path.is_file():
        shipped_names = ", ".join(sorted(shipped_descriptors()))
        raise DescriptorError(
            f"descriptor {name!r} has no file {path}; choose a shipped one ({shipped_names}), the "
            "model_id of a registered one, or the path of the JSON file that `idedup train` wrote"
        )
    return path


def shipped_descriptors() -> list[str]:
    """Names of the descriptors whose weights are part of this package."""
    cards = WEIGHTS_FOLDER.glob("*.json")
    return [path.stem for path in cards if path.with_suffix(".safetensors").is_file()]


def descriptor_info(
    name: str = DEFAULT_DESCRIPTOR, device: str = "auto", thorough: bool = False
) -> DescriptorInfo:
    """Return model_id, dim and thresholds without loading weights or a network library.

    The model_id is that of `load_descriptor(name, device, thorough)` on a machine of the same kind:
    give the device by name where the workers' machines differ from this one.
    """
    card = load_card(name)
    return DescriptorInfo(card.model_id(device, thorough), card.dim, card.thresholds)


def load_quantiser(name: str = DEFAULT_DESCRIPTOR) -> "np.ndarray":
    """Return the centroids shipped with a descriptor: float32 (cells, dim), unit rows.

    They were found by k-means over the descriptor's training photographs and never depend on the
    collection at hand. Raises DescriptorError where the file is missing or another one.
    """
    import numpy as np
    from safetensors.numpy import load_file

    card = load_card(name)
    path = checked_file(card, card.quantiser, card.quantiser_sha256)
    centroids: np.ndarray = load_file(path)["centroids"].astype(np.float32)
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    return centroids
