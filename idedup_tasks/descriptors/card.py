"""The sidecar of a descriptor's weights: what they are, their digest and calibrated thresholds."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from idedup_tasks.errors import TerminalError

# What runs the network on a device: part of model_id, since a runtime or a precision moves a
# similarity by up to about 0.001, and with it decisions at a threshold.
RUNTIMES = {
    "cpu": ("openvino", "float32"),
    "cuda": ("torch", "float16"),
    "reference": ("torch", "float32"),
}

# A registered descriptor is called by its model_id on this device, wherever it runs.
REGISTERED_AS = "cpu"

# Raised whenever the path from decoded image to network input changes.
PREPROCESSING = "rgb uint8, whole image to a square, Pillow bicubic with antialiasing, version 2"

# Raised whenever other pictures are found in an image.
INNER = "two sides of edges or more, without bars, version 1"

# How an image's vector is parted from its background (see `network.shared_with`). Chosen on the
# photographs set aside; 0.03 to 0.06 and 0.55 to 0.9 differ by 0.02 of recall at most. Other values
# make other vectors of the same weights: raise PREPROCESSING with them.
BACKGROUND_TEMPERATURE = 0.05
BACKGROUND_SHARE = 0.7

# Side, in pixels, at which a picture that lies in an image is seen, and a window where an image is
# seen thoroughly.
WINDOW_SIDE = 128


class DescriptorError(TerminalError):
    """A descriptor, its weights or the device that it was asked to run on cannot be used."""


@dataclass(frozen=True)
class DecisionLevels:
    """Calibrated decision levels of one descriptor (see docs/descriptor.md).

    pair: cosine from which two images are called near duplicates (precision >= 0.99 where each
        copy is compared with thousands of unrelated images).
    candidate: cosine from which a pair becomes an edge of the candidate graph.
    cut: mean cosine between clusters at which average linkage stops merging.
    phash_distance: largest Hamming distance between 64-bit pHashes of thumbnails at which two
        images are perceptual twins (precision >= 0.999).
    """

    pair: float
    candidate: float
    cut: float
    phash_distance: int


@dataclass(frozen=True)
class DescriptorCard:
    """What the JSON sidecar of a weights file says.

    `input_size` is the side of the square input in pixels, `gem_p` the exponent of the generalised
    mean pooling, `scales` the sizes relative to it at which an image is seen, `regions` how many
    windows along each side have a vector of their own (see `network`), `inner` how many pictures
    that lie in an image have one (see `inner`), `weights_sha256` the digest of the safetensors file
    of that name beside the sidecar, `figures` what was measured with these weights, `sorter` the
    numbers of the `sorter.Sorter` that tells copies from look-alikes among near images (None: the
    cosine alone does, as where there are no regions), `converted` the digests, by name, of the two
    files that hold the network as OpenVINO runs it (see `conversion`): none until it is converted.
    """

    name: str
    architecture: str
    dim: int
    input_size: int
    gem_p: float
    weights: str
    weights_sha256: str
    thresholds: DecisionLevels
    quantiser: str
    quantiser_sha256: str
    figures: dict[str, Any]
    folder: Path
    scales: tuple[float, ...] = (1.0,)
    regions: int = 0
    inner: int = 0
    sorter: dict[str, Any] | None = None
    converted: dict[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> int:
        """How many vectors an image has beside its own."""
        return self.regions**2 + self.inner

    def model_id(self, device: str = "auto", thorough: bool = False) -> str:
        """`<name>-<8 hex digits>` of weights, preprocessing, runtime and precision.

        Raises DescriptorError where a descriptor without regions is to see images thoroughly.
        """
        if thorough and not self.regions:
            raise DescriptorError(
                f"descriptor {self.name!r} makes no vectors of parts, so it cannot see images "
                "thoroughly: set `matching.thorough` to false, or name another `descriptor`"
            )
        runtime, precision = RUNTIMES[resolve_device(device)]
        identity = {
            "architecture": self.architecture,
            "gem_p": self.gem_p,
            "input_size": self.input_size,
            "precision": precision,
            "preprocessing": PREPROCESSING,
            "runtime": runtime,
            "regions": self.regions,
            "scales": self.scales,
            "weights": self.weights_sha256,
        }
        if self.inner:
            identity["inner"] = f"{self.inner}: {INNER}"
        if self.inner or thorough:
            identity["window_side"] = WINDOW_SIDE
        if thorough:
            identity["thorough"] = True
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return f"{self.name}-{digest[:8]}"

    def content(self) -> dict[str, Any]:
        """What the sidecar says, as JSON takes it."""
        content = asdict(self) | {"scales": list(self.scales)}
        del content["folder"]
        return content

    def write(self) -> Path:
        """Write the sidecar into its folder and return its path."""
        path = self.folder / f"{self.name}.json"
        path.write_text(json.dumps(self.content(), indent=2) + "\n", encoding="utf-8")
        return path


def resolve_device(device: str) -> str:
    """Name the runtime's device: "auto" is "cuda" where an NVIDIA GPU is visible and PyTorch is
    installed, else "cpu"."""
    if device == "auto":
        visible = any(Path("/proc/driver/nvidia/gpus").glob("*"))
        return "cuda" if visible and find_spec("torch") is not None else "cpu"
    if device not in RUNTIMES:
        raise DescriptorError(
            f"device {device!r} is not known; use auto, {', '.join(sorted(RUNTIMES))}"
        )
    return device


def read_card(path: Path) -> DescriptorCard:
    """What a sidecar says.

    Raises DescriptorError where the file is something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        thresholds = DecisionLevels(**content.pop("thresholds"))
        scales = tuple(content.pop("scales", (1.0,)))
        return DescriptorCard(thresholds=thresholds, folder=path.parent, scales=scales, **content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DescriptorError(
            f"{path} is no descriptor's sidecar ({error}); give the JSON file that `idedup train` "
            "wrote beside the weights"
        ) from error


def is_model_id(name: str) -> bool:
    """Whether a name has the form of a model_id: a descriptor's name and eight hex digits."""
    return re.fullmatch(r"[a-z0-9_]+-[0-9a-f]{8}", name) is not None


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def checked_file(card: DescriptorCard, file: str, sha256: str) -> Path:
    """Return the path of a file beside the sidecar, having compared its digest with the sidecar's.

    Raises DescriptorError where the file is missing or another one.
    """
    path = card.folder / file
    if not path.is_file():
        raise DescriptorError(
            f"{path}, which descriptor {card.name!r} needs, is missing; install the package again "
            "or copy the file beside its JSON sidecar"
        )
    found = file_sha256(path)
    if found != sha256:
        raise DescriptorError(
            f"{path} has sha256 {found}, not the {sha256} that its sidecar records; install the "
            "package again or run the training's registration, which writes both"
        )
    return path
