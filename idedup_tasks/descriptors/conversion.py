"""A descriptor's network in the form that OpenVINO runs, written beside its weights.

Converting takes PyTorch and seconds. So it is done once, by whoever makes the weights, and what
only uses a descriptor needs no PyTorch.
"""

import warnings
from dataclasses import replace

import openvino
import torch
from torch import Tensor, nn

from idedup_tasks.descriptors.card import WINDOW_SIDE, DescriptorCard, file_sha256
from idedup_tasks.descriptors.network import DescriptorNetwork
from idedup_tasks.descriptors.runtime import FEATURES, POOLED
from idedup_tasks.descriptors.torch_runtime import load_card_network

# Images an inference: a fifth faster than one by one, and more gain little.
BATCH = 4


class _WithFeatures(nn.Module):
    """A network that gives beside its vectors its features at the full scale, and all that they
    were pooled to."""

    def __init__(self, network: DescriptorNetwork) -> None:
        super().__init__()
        self.network = network
        self.seen: list[Tensor] = []
        self.pooled: list[Tensor] = []
        network.features.register_forward_hook(lambda *call: self.seen.append(call[2]))
        network.head.register_forward_pre_hook(lambda _, given: self.pooled.append(given[0]))

    def forward(self, images: Tensor, inner: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        self.seen.clear()
        self.pooled.clear()
        vectors = self.network.with_regions(images, inner)
        full = max(self.seen, key=lambda features: features.shape[-1])
        return vectors, full, self.pooled[0]


def convert(card: DescriptorCard) -> DescriptorCard:
    """Write `<name>.xml` and `<name>.bin` beside the weights; the card that records them.

    The sidecar is for the caller to write. Constants stay float32: as float16 they move a cosine
    by up to 0.0007, which would be another model_id.
    """
    network = load_card_network(card)
    sides = [(BATCH, card.input_size)]
    if card.inner:
        sides.append((BATCH * card.inner, WINDOW_SIDE))
    example = tuple(torch.zeros(n, 3, side, side, dtype=torch.uint8) for n, side in sides)
    with warnings.catch_warnings():
        # OpenVINO 2026 traces with torch.jit, which PyTorch 2.14 calls deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        # The sides that an image is scaled to are constants, as they are meant to be.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        model = openvino.convert_model(
            _WithFeatures(network), example_input=example, input=[e.shape for e in example]
        )
    vectors, features, pooled = model.get_results()
    features.input_value(0).get_tensor().set_names({FEATURES})
    pooled.input_value(0).get_tensor().set_names({POOLED})
    # Vectors are the only output; what leads to the other two is found by their names.
    alone = openvino.Model([vectors], model.get_parameters(), card.name)
    path = card.folder / f"{card.name}.xml"
    openvino.save_model(alone, path, compress_to_fp16=False)
    files = (path, path.with_suffix(".bin"))
    for file in files:
        file.chmod(0o644)
    return replace(card, converted={file.name: file_sha256(file) for file in files})
