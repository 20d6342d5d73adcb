"""PyTorch as runtime: on a GPU, and on a CPU as the reference."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from idedup_tasks.compute import usable_cores
from idedup_tasks.descriptors.card import DescriptorCard, checked_file
from idedup_tasks.descriptors.network import DescriptorNetwork, load_network
from idedup_tasks.descriptors.runtime import Prepare, without_blank

BATCH = 64


class TorchRuntime:
    """PyTorch in batches of 64, the last one padded: float16 on CUDA, float32 on a CPU."""

    def __init__(self, card: DescriptorCard, device: str) -> None:
        self.device = torch.device(device)
        self.dim, self.parts, self.inner = card.dim, card.parts, card.inner
        self.network = load_card_network(card).to(self.device)
        self.network.to(memory_format=torch.channels_last)
        self._pool = ThreadPoolExecutor(usable_cores(), thread_name_prefix="descriptor")

    @torch.inference_mode()
    def run(self, images: Sequence[object], prepare: Prepare) -> np.ndarray:
        """Vectors float32 (n, 1 + parts, dim): of n images, then of the parts of each."""
        vectors = np.empty((len(images), 1 + self.parts, self.dim), np.float32)
        for first in range(0, len(images), BATCH):
            prepared = list(self._pool.map(prepare, images[first : first + BATCH]))
            given = []
            for pixels in zip(*prepared, strict=True):
                batch = np.zeros((BATCH, *pixels[0].shape), np.uint8)
                batch[: len(pixels)] = pixels
                # A permuted view of (n, side, side, 3) is channels-last memory already.
                tensor = torch.from_numpy(batch).flatten(0, 1).to(self.device)
                given.append(tensor.permute(0, 3, 1, 2))
            wholes, *others = given
            inner = others.pop(0) if self.inner else None
            with torch.autocast("cuda", torch.float16, enabled=self.device.type == "cuda"):
                output = self.network.with_regions(wholes, inner, *others)
            here = vectors[first : first + len(prepared)]
            here[:] = output[: len(prepared)].float().cpu().numpy()
            if self.inner:
                without_blank(here, [pixels[1] for pixels in prepared])
        return vectors


def load_card_network(card: DescriptorCard) -> DescriptorNetwork:
    """The PyTorch network of a card, its weights file checked against the recorded digest."""
    path = checked_file(card, card.weights, card.weights_sha256)
    return load_network(path, card.architecture, card.dim, card.gem_p, card.scales, card.regions)
