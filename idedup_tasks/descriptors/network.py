"""The descriptor network: MobileNetV3 features, generalised-mean pooling, a linear head."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

# ImageNet's statistics, in units of 8-bit pixel values.
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)

BACKBONES = {
    "mobilenet_v3_small": (models.mobilenet_v3_small, 576),
    "mobilenet_v3_large": (models.mobilenet_v3_large, 960),
}


class DescriptorNetwork(nn.Module):
    """8-bit RGB images (n, 3, side, side) to unit vectors float32 (n, dim).

    Pooling is GeM, the p-th root of the mean p-th power over positions, clamped at 1e-6
    (Radenović et al., Fine-tuning CNN Image Retrieval with No Human Annotation, eq. 5).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: str, dim: int, gem_p: float) -> None:
        super().__init__()
        build, channels = BACKBONES[architecture]
        self.features = build(weights=None).features
        self.head = nn.Linear(channels, dim)
        self.gem_p = gem_p
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def pool(self, images: Tensor) -> Tensor:
        """Pooled features float32 (n, channels) of 8-bit RGB images."""
        features = self.features((images.float() - self.mean) / self.std).float()
        # The root in float32: powers of float16 features overflow.
        return features.clamp(min=1e-6).pow(self.gem_p).mean((2, 3)).pow(1 / self.gem_p)

    def forward(self, images: Tensor) -> Tensor:
        return functional.normalize(self.head(self.pool(images)).float())


def load_network(path: Path, architecture: str, dim: int, gem_p: float) -> DescriptorNetwork:
    """Build the network and fill it from a safetensors file (float16 or float32), in eval mode."""
    network = DescriptorNetwork(architecture, dim, gem_p)
    network.load_state_dict(load_file(path))
    return network.eval()
