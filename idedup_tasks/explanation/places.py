"""The places of an image as a descriptor's network sees them, before they are pooled.

The cosine of two images is taken apart as in Stylianou, Souvenir & Pless, "Visualizing Deep
Similarity Networks" (WACV 2019), which treats average and maximum pooling. Generalised-mean
pooling, v = (1/n sum_i f_i^p)^(1/p), lies between the two and is homogeneous of degree one, so by
Euler's theorem v is exactly the sum over places i of f_i dv/df_i = f_i^p / (n v^(p-1)). The head is
linear: each place's part of v gives a vector, those of all places add up to the image's vector, and
the cosine of two images is the sum of the products of all places of one with all of the other.
What a network sees at a smaller scale counts for the places that it covers at the full one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from idedup_tasks.descriptors.card import (
    BACKGROUND_SHARE,
    BACKGROUND_TEMPERATURE,
    DescriptorCard,
    DescriptorError,
    checked_file,
)
from idedup_tasks.descriptors.runtime import FeatureMaps

# Side of the input for looking closely, in multiples of the side that vectors are made at: the
# network then sees smaller places.
_CLOSER = 2.5


@dataclass(frozen=True)
class Parts:
    """An image's vector and what it is made of.

    vector: (dim,) float32, of length one. parts: (rows, columns, dim) float32, the part of each
    place; they sum to `vector`.
    """

    vector: np.ndarray
    parts: np.ndarray


class PlaceNetwork:
    """A descriptor's network, on the CPU in float32, asked what it sees where."""

    def __init__(self, card: DescriptorCard) -> None:
        state = load_file(checked_file(card, card.weights, card.weights_sha256))
        if "head.weight" not in state:
            raise DescriptorError(
                f"The descriptor {card.name} cannot be explained by places: its head is not linear."
            )
        self.input_size = card.input_size
        self._power, self._scales = card.gem_p, card.scales
        self._weight, self._bias = (
            state[f"head.{name}"].astype(np.float32) for name in ("weight", "bias")
        )
        background = state.get("background")
        self._background = None if background is None else background.astype(np.float32)
        self._maps = FeatureMaps(card)

    def parts(self, image: Image.Image) -> Parts:
        """What the image's vector is made of; at the side that vectors are made at."""
        pixels = self._pixels(image, self.input_size)
        seen = [self._features(scaled(pixels, scale)) for scale in self._scales]
        whole = max(features.shape[1:] for features in seen)
        shares = np.zeros((len(seen[0]), *whole), np.float32)
        for features in seen:
            raised = features**self._power
            pooled = raised.mean((1, 2), keepdims=True) ** (1 / self._power)
            own = raised / (features[0].size * pooled ** (self._power - 1)) / len(seen)
            down, across = (cover(n, m) for n, m in zip(own.shape[1:], whole, strict=True))
            shares += down.T @ own @ across
        places = shares[0].size
        parts = shares.transpose(1, 2, 0) @ self._weight.T + self._bias / places
        parts = parts / np.linalg.norm(parts.sum((0, 1)))
        if self._background is not None:
            # Every place gives up as much of what the image shares with its kind.
            parts = parts - shared_with(self._background, parts.sum((0, 1))) / places
            parts = parts / np.linalg.norm(parts.sum((0, 1)))
        return Parts(parts.sum((0, 1)), parts)

    def closely(self, image: Image.Image) -> np.ndarray:
        """What is seen at each place, (rows, columns, dim) float32: unit vectors, made by the head
        from the features of that place alone."""
        features = self._features(self._pixels(image, round(_CLOSER * self.input_size)))
        seen = features.transpose(1, 2, 0) @ self._weight.T + self._bias
        unit: np.ndarray = seen / np.linalg.norm(seen, axis=2, keepdims=True)
        return unit

    def _pixels(self, image: Image.Image, side: int) -> np.ndarray:
        """RGB pixels float32 (side, side, 3), 0 to 255."""
        small = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        return np.asarray(small, np.float32)

    def _features(self, pixels: np.ndarray) -> np.ndarray:
        """Features float32 (channels, rows, columns)."""
        features = self._maps.of(pixels)
        # As in pooling, where only the plain mean can take what is negative.
        return features if self._power == 1 else features.clip(min=1e-6)


def scaled(pixels: np.ndarray, scale: float) -> np.ndarray:
    """Pixels float32 (side, side, 3) as the network sees them at a scale: bilinear, antialiased."""
    if scale == 1:
        return pixels
    side = round(len(pixels) * scale)
    planes = [Image.fromarray(plane) for plane in pixels.transpose(2, 0, 1)]
    small = [plane.resize((side, side), Image.Resampling.BILINEAR) for plane in planes]
    return np.stack([np.asarray(plane) for plane in small], axis=2)


def shared_with(background: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """What a unit vector (dim,) shares with the images of its kind, as `network.shared_with`."""
    cosines = background @ vector
    weights = np.exp((cosines - cosines.max()) / BACKGROUND_TEMPERATURE)
    shared: np.ndarray = BACKGROUND_SHARE * (weights / weights.sum()) @ background
    return shared


def cover(coarse: int, fine: int) -> np.ndarray:
    """Which share of each of `coarse` equal parts of a line lies in each of `fine`: (coarse, fine)
    float32, whose rows sum to one."""
    edges = np.arange(fine + 1) / fine
    starts = np.arange(coarse)[:, None] / coarse
    inside = (edges[None, :] - starts).clip(0, 1 / coarse) * coarse
    return np.diff(inside, axis=1).astype(np.float32)
