"""A descriptor ready for use: images in, unit vectors out."""

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image

from idedup_tasks.descriptors.card import (
    WINDOW_SIDE,
    DecisionLevels,
    DescriptorCard,
    DescriptorError,
    resolve_device,
)
from idedup_tasks.descriptors.inner import cut, inner_pictures
from idedup_tasks.descriptors.named import DEFAULT_DESCRIPTOR, load_card
from idedup_tasks.extras import require

if TYPE_CHECKING:
    from idedup_tasks.descriptors.runtime import Prepare


class Runtime(Protocol):
    def run(self, images: Sequence[object], prepare: "Prepare") -> np.ndarray: ...


class Descriptor:
    """`encode` gives vectors whose inner product is the cosine similarity of two images.

    `model_id` covers weights, preprocessing, runtime and precision: vectors of one model_id may be
    compared, of two never.
    """

    def __init__(
        self, card: DescriptorCard, device: str, runtime: Runtime, thorough: bool = False
    ) -> None:
        self.name = card.name
        self.model_id = card.model_id(device, thorough)
        self.dim = card.dim
        self.regions = card.parts
        self._inner = card.inner
        self.input_size = card.input_size
        # Windows of half an image, along each side, that are looked at.
        self._windows = card.regions if thorough else 0
        self.thresholds: DecisionLevels = card.thresholds
        self._runtime = runtime

    def encode(self, images: Sequence[Image.Image | np.ndarray]) -> np.ndarray:
        """Return the L2-normalised vectors float32 (n, dim) of n images.

        An image is a Pillow image of any mode and size, or a uint8 RGB array (height, width, 3);
        orientation must have been applied. Arrays of `input_size` squared are taken as they are.
        A vector is the same, bit for bit, whatever other images are encoded with it. Raises
        DescriptorError for an array of another shape or type.
        """
        return self.encode_with_regions(images)[0]

    def encode_with_regions(
        self, images: Sequence[Image.Image | np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what `encode` does, and vectors of parts of each image: int8 (n, regions, dim).

        The parts are overlapping windows of half the side, row by row (seen thoroughly, each is
        encoded by itself), and then the pictures that seem to lie in the image, with zeros for
        those that are lacking. A part's vector, of length one, is multiplied by 127 and rounded, so
        that an inner product of two is a whole number below 2 to the 24th, which float32 sums
        exactly on any machine.
        """
        if not len(images):
            return np.empty((0, self.dim), np.float32), np.empty(
                (0, self.regions, self.dim), np.int8
            )
        vectors = self._runtime.run(images, self._prepare)
        return np.ascontiguousarray(vectors[:, 0]), in_8_bits(vectors[:, 1:])

    def _prepare(self, image: object) -> list[np.ndarray]:
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise DescriptorError(
                    f"an array of shape {image.shape} and type {image.dtype} is no image to "
                    "encode; give uint8 RGB of shape (height, width, 3)"
                )
            if image.shape[:2] == (self.input_size, self.input_size) and not (
                self._inner or self._windows
            ):
                return [image[None]]
            image = Image.fromarray(image)
        if not isinstance(image, Image.Image):
            raise DescriptorError(
                f"a {type(image).__name__} is no image to encode; give a Pillow image or a uint8 "
                "RGB array"
            )
        if image.mode != "RGB":
            image = image.convert("RGB")
        prepared = [_square(image, self.input_size)[None]]
        if self._inner:
            prepared.append(_inner(image, self._inner))
        if self._windows:
            prepared.append(_windows(image, self._windows))
        return prepared


def _square(image: Image.Image, side: int) -> np.ndarray:
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, reducing_gap=None))


def _inner(image: Image.Image, count: int) -> np.ndarray:
    """Pictures that lie in an image: uint8 (count, WINDOW_SIDE, WINDOW_SIDE, 3), black where fewer
    do."""
    seen = np.zeros((count, WINDOW_SIDE, WINDOW_SIDE, 3), np.uint8)
    for at, box in enumerate(inner_pictures(image, count)):
        seen[at] = _square(cut(image, box), WINDOW_SIDE)
    return seen


def _windows(image: Image.Image, along: int) -> np.ndarray:
    """Windows of half the side, `along` a side: uint8 (along², WINDOW_SIDE, WINDOW_SIDE, 3)."""
    square = _square(image, 2 * WINDOW_SIDE)
    starts = np.linspace(0, WINDOW_SIDE, along).round().astype(int)
    return np.stack(
        [square[y : y + WINDOW_SIDE, x : x + WINDOW_SIDE] for y in starts for x in starts]
    )


def in_8_bits(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors (..., dim) in 8 bits: times 127, rounded, int8."""
    rounded: np.ndarray = np.rint(vectors * 127).astype(np.int8)
    return rounded


def load_descriptor(
    name: str = DEFAULT_DESCRIPTOR, device: str = "auto", thorough: bool = False
) -> Descriptor:
    """Load a descriptor.

    `name` is a shipped descriptor ("mobilenet_v3"), or the path of the JSON file that training
    wrote. `device` is "cpu" (OpenVINO, float32), "cuda" (PyTorch, float16), "reference" (PyTorch
    on the CPU, float32) or "auto": see `resolve_device`. With `thorough`, parts of images are
    looked at one by one (see `encode_with_regions`), which is another model_id. Raises
    DescriptorError where weights are missing or damaged or the device cannot be used, ExtraMissing
    where PyTorch is wanted and not installed; it never falls back to other weights or another
    device, because that would be another model_id.
    """
    card = load_card(name)
    device = check_device(device)
    card.model_id(device, thorough)  # refuses what it cannot do before anything is loaded
    runtime: Runtime
    if device == "cpu":
        from idedup_tasks.descriptors.runtime import OpenVinoRuntime

        runtime = OpenVinoRuntime(card, thorough)
    else:
        from idedup_tasks.descriptors.torch_runtime import TorchRuntime

        runtime = TorchRuntime(card, "cuda" if device == "cuda" else "cpu")
    return Descriptor(card, device, runtime, thorough)


def check_device(device: str) -> str:
    """Make sure that a device can be used on this machine; returns it, with "auto" resolved.

    Raises DescriptorError where a GPU is wanted and there is none, ExtraMissing where PyTorch is.
    """
    device = resolve_device(device)
    if device == "cuda":
        # Before PyTorch, whose import takes seconds.
        if not _has_driver():
            raise DescriptorError(
                'device "cuda" needs an NVIDIA GPU with its driver, which is not here (and '
                "PyTorch: pip install 'idedup[gpu]'); give device \"cpu\", whose model_id differs"
            )
        require("torchvision", 'device "cuda"', "gpu")
        import torch

        if not torch.cuda.is_available():
            raise DescriptorError(
                f'device "cuda" cannot be used by PyTorch {torch.__version__} here; install one '
                'for the GPU\'s driver, or give device "cpu", whose model_id differs'
            )
    elif device == "reference":
        require("torchvision", 'device "reference"')
    return device


def _has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
