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
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from idedup_tasks.descriptors.card import DescriptorCard, DescriptorError
from idedup_tasks.descriptors.network import shared_with
from idedup_tasks.descriptors.torch_runtime import load_card_network

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
        network = load_card_network(card)
        if not isinstance(network.head, nn.Linear):
            raise DescriptorError(
                f"The descriptor {card.name} cannot be explained by places: its head is not linear."
            )
        self.input_size = card.input_size
        self._network = network
        self._head = network.head

    @torch.inference_mode()
    def parts(self, image: Image.Image) -> Parts:
        """What the image's vector is made of; at the side that vectors are made at."""
        pixels = self._pixels(image, self.input_size)
        power = self._network.gem_p
        seen = [self._features(pixels, scale) for scale in self._network.scales]
        whole = max(features.shape[1:] for features in seen)
        shares = torch.zeros(())
        for features in seen:
            pooled = self._network.generalised_mean(features[None])[0, :, None, None]
            spots = features[0].numel()
            own = features.pow(power) / (spots * pooled.pow(power - 1)) / len(seen)
            down, across = (cover(n, m) for n, m in zip(own.shape[1:], whole, strict=True))
            shares = shares + down.T @ own @ across
        places = whole.numel()
        parts = functional.linear(shares.permute(1, 2, 0), self._head.weight)
        parts = parts + self._head.bias / places
        parts = parts / parts.sum((0, 1)).norm()
        background = self._network.background
        if background is not None:
            # Every place gives up as much of what the image shares with its kind.
            parts = parts - shared_with(background, parts.sum((0, 1))[None])[0] / places
            parts = parts / parts.sum((0, 1)).norm()
        return Parts(parts.sum((0, 1)).numpy(), parts.numpy())

    @torch.inference_mode()
    def closely(self, image: Image.Image) -> np.ndarray:
        """What is seen at each place, (rows, columns, dim) float32: unit vectors, made by the head
        from the features of that place alone."""
        features = self._features(self._pixels(image, round(_CLOSER * self.input_size)), 1.0)
        return functional.normalize(self._head(features.permute(1, 2, 0)), dim=2).numpy()

    def _pixels(self, image: Image.Image, side: int) -> Tensor:
        """Normalised pixels (1, 3, side, side)."""
        small = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None]
        return (pixels.float() - self._network.mean) / self._network.std

    def _features(self, pixels: Tensor, scale: float) -> Tensor:
        features = self._network.features_at(pixels, scale)[0]
        # As in pooling, where only the plain mean can take what is negative.
        return features if self._network.gem_p == 1 else features.clamp(min=1e-6)


def cover(coarse: int, fine: int) -> Tensor:
    """Which share of each of `coarse` equal parts of a line lies in each of `fine`: (coarse, fine)
    float32, whose rows sum to one."""
    edges = torch.arange(fine + 1) / fine
    starts = torch.arange(coarse)[:, None] / coarse
    inside = (edges[None, :] - starts).clamp(0, 1 / coarse) * coarse
    return inside.diff(dim=1)
