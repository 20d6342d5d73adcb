"""The descriptor networks: features of an image, pooled to a vector, and a head.

`ARCHITECTURES` is the registry; whatever is in it is trained, calibrated, converted and loaded by
the same code. LeNet, the U-Net encoder, ResNet50 and DenseNet121 are those that the paper's Table 2
compares, with their classifier replaced by the head that the others have.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

from idedup_tasks.descriptors.card import BACKGROUND_SHARE, BACKGROUND_TEMPERATURE

# ImageNet's statistics, in units of 8-bit pixel values.
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


class ConvolutionalEncoder(nn.Sequential):
    """The paper's head: pooled features (n, channels) to a code (n, dim) that sums to one.

    The pooled vector is a sequence of one channel; three times Conv1D (64, 128, 256 filters of
    three), batch normalisation, ReLU and max pooling by two; flattened, dropout of 0.3, 512 units
    with ReLU, softmax over `dim`. The paper gives the layers but not what the convolutions run
    over, nor their padding (here 1) and activation (here ReLU). He initialisation (He et al.,
    Delving Deep into Rectifiers, 2015).
    """

    def __init__(self, channels: int, dim: int) -> None:
        layers: list[nn.Module] = [nn.Unflatten(1, (1, channels))]
        for before, after in pairwise((1, 64, 128, 256)):
            layers += [
                nn.Conv1d(before, after, 3, padding=1),
                nn.BatchNorm1d(after),
                nn.ReLU(),
                nn.MaxPool1d(2),
            ]
        flat = 256 * (channels // 8)
        super().__init__(
            *layers,
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(flat, 512),
            nn.ReLU(),
            nn.Linear(512, dim),
            nn.Softmax(1),
        )
        initialise(self)


def log_ratios(shares: Tensor) -> Tensor:
    """Centred log-ratios of shares (n, dim) that sum to one: what is compared of the paper's code.

    The paper compares codes by cosine. Of the shares themselves that teaches next to nothing: they
    are positive, so all cosines are high, and the softmax hides all but its largest few. Their
    logarithms less the mean, the coordinates in which compositions are compared (Aitchison, The
    Statistical Analysis of Compositional Data, 1986), are the same code, without either fault.
    """
    logarithms = shares.clamp(min=1e-12).log()
    return logarithms - logarithms.mean(1, keepdim=True)


def initialise(network: nn.Module) -> None:
    """He initialisation of convolutions and dense layers, in place; biases are zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def lenet_features() -> nn.Module:
    """LeNet-5's three convolutions and two subsamplings (LeCun et al. 1998, fig. 2), with ReLU.

    Its third convolution, C5, sees the whole of a 32-pixel image; on a larger one it leaves a map,
    which is pooled.
    """
    network = nn.Sequential(
        *(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(16, 120, 5), nn.ReLU()),
    )
    initialise(network)
    return network


def unet_features() -> nn.Module:
    """U-Net's contracting path, 64 to 1,024 channels (Ronneberger et al. 2015, fig. 1).

    Its convolutions are padded and batch-normalised, as is usual since.
    """
    layers: list[nn.Module] = []
    for before, after in pairwise((3, 64, 128, 256, 512, 1024)):
        if layers:
            layers.append(nn.MaxPool2d(2))
        for channels in (before, after):
            layers += [
                nn.Conv2d(channels, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
    network = nn.Sequential(*layers)
    initialise(network)
    return network


def resnet_features(network: Any) -> nn.Module:
    """A torchvision ResNet without its pooling and classifier."""
    return nn.Sequential(OrderedDict(list(network.named_children())[:-2]))


def densenet_features(network: Any) -> nn.Module:
    """A torchvision DenseNet's features and the ReLU that it applies to them."""
    return nn.Sequential(network.features, nn.ReLU())


@torch.no_grad()
def see_zero_to_one(features: Any) -> None:
    """Let a MobileNetV3 that learnt on pixels less MEAN over STD take pixels in [0, 1], in place.

    The scale goes into its first convolution and the shift into the normalisation after it, so it
    makes the same features, but for what its zero padding stands for: black, not the mean colour.
    """
    convolution, normalisation = features[0][0], features[0][1]
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    normalisation.running_mean += (convolution.weight * mean / std).sum((1, 2, 3))
    convolution.weight *= 255 / std


@dataclass(frozen=True)
class Architecture:
    """What makes one network of a name.

    `build` gives its convolutional features: 3-channel images to (n, channels, rows, columns).
    With `published`, they are taken (by `part`) out of the torchvision network that `build` makes,
    and those weights can start them. `head` maps pooled features to codes, and `compared` those to
    what cosines are taken of.
    `zero_to_one`: pixels are scaled to [0, 1] instead of by ImageNet's mean and deviation.
    """

    build: Callable[..., nn.Module]
    channels: int
    published: Any = None
    part: Callable[[Any], nn.Module] = lambda network: network.features
    head: Callable[[int, int], nn.Module] = nn.Linear
    compared: Callable[[Tensor], Tensor] = lambda codes: codes
    zero_to_one: bool = False

    def features(self, published: bool = False) -> nn.Module:
        """The features with random weights, or with torchvision's published ones (a download)."""
        if self.published is None:
            return self.build()
        return self.part(self.build(weights=self.published if published else None))


SMALL = models.MobileNet_V3_Small_Weights.IMAGENET1K_V1

ARCHITECTURES = {
    "mobilenet_v3_small": Architecture(models.mobilenet_v3_small, 576, SMALL),
    "mobilenet_v3_large": Architecture(
        models.mobilenet_v3_large, 960, models.MobileNet_V3_Large_Weights.IMAGENET1K_V1
    ),
    # Of the two MobileNetV3 the paper does not say which: the small one, as the default's.
    "idedupnet": Architecture(
        models.mobilenet_v3_small,
        576,
        SMALL,
        head=ConvolutionalEncoder,
        compared=log_ratios,
        zero_to_one=True,
    ),
    "resnet50": Architecture(
        models.resnet50, 2048, models.ResNet50_Weights.IMAGENET1K_V1, resnet_features
    ),
    "densenet121": Architecture(
        models.densenet121, 1024, models.DenseNet121_Weights.IMAGENET1K_V1, densenet_features
    ),
    "lenet": Architecture(lenet_features, 120),
    "unet": Architecture(unet_features, 1024),
}


def windows(cells: int, count: int) -> Tensor:
    """Windows of half a side, evenly spaced along it: weights float32 (count, cells).

    A row sums to one; a cell that lies partly in a window counts by its part.
    """
    size = cells / 2
    first = torch.arange(count) * (cells - size) / max(count - 1, 1)
    cell = torch.arange(cells)
    inside = torch.minimum(cell + 1, first[:, None] + size) - torch.maximum(cell, first[:, None])
    return inside.clamp(0, 1) / size


def antialiased(before: int, after: int) -> Tensor:
    """Weights float32 (after, before) of antialiased bilinear scaling along one side.

    Two products with it scale an image as `interpolate` does, which OpenVINO runs more slowly: with
    them `encode` was half as fast again.
    """
    identity = torch.eye(before)[None, None]
    return functional.interpolate(
        identity, (after, before), mode="bilinear", antialias=True, align_corners=False
    )[0, 0]


class DescriptorNetwork(nn.Module):
    """8-bit RGB images (n, 3, side, side) to unit vectors float32 (n, dim).

    Pooling is GeM, the p-th root of the mean p-th power over positions, clamped at 1e-6
    (Radenović et al., Fine-tuning CNN Image Retrieval with No Human Annotation, eq. 5); with
    `gem_p` 1 it is the plain mean. Each image is seen at all `scales` of its side, and what is
    pooled at each is averaged (section 4.3 there), so that a crop, which shows things larger, is
    met at its own scale. With `regions`, its features at full scale are also pooled in each of
    regions times regions windows of half its side, which the same head makes vectors of: a part of
    it that is another image, or a part of one, is met there. Where there is a `background`,
    vectors of unrelated photographs float32 (m, dim), what an image shares with it is taken away:
    see `apart_from`.
    """

    mean: Tensor
    std: Tensor
    background: Tensor | None

    def __init__(self, architecture: str, dim: int, gem_p: float, published: bool = False) -> None:
        super().__init__()
        chosen = ARCHITECTURES[architecture]
        self.features = chosen.features(published)
        self.head = chosen.head(chosen.channels, dim)
        self.compared = chosen.compared
        self.gem_p = gem_p
        self.scales: tuple[float, ...] = (1.0,)
        self.regions = 0
        mean, std = ((0.0,), (255.0,)) if chosen.zero_to_one else (MEAN, STD)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("background", None)
        if published and chosen.zero_to_one:
            see_zero_to_one(self.features)

    def pool(self, images: Tensor) -> Tensor:
        """Pooled features float32 (n, channels) of 8-bit RGB images."""
        pixels = (images.float() - self.mean) / self.std
        pooled = [self.generalised_mean(self.features_at(pixels, scale)) for scale in self.scales]
        return torch.stack(pooled).mean(0)

    def features_at(self, pixels: Tensor, scale: float) -> Tensor:
        """Features float32 (n, channels, rows, columns) of normalised pixels at a scale."""
        if scale != 1:
            # A constant also where the network is traced.
            side = int(pixels.shape[-1])
            shrink = antialiased(side, round(side * scale)).to(pixels)
            pixels = shrink @ pixels @ shrink.T
        features: Tensor = self.features(pixels)
        return features.float()

    def generalised_mean(self, features: Tensor) -> Tensor:
        """Features float32 (n, channels, rows, columns) pooled over places: (n, channels)."""
        if self.gem_p == 1:
            return features.mean((2, 3))
        # The root in float32: powers of float16 features overflow.
        return features.clamp(min=1e-6).pow(self.gem_p).mean((2, 3)).pow(1 / self.gem_p)

    def forward(self, images: Tensor) -> Tensor:
        return self.vectors_of(self.pool(images))

    def with_regions(
        self, images: Tensor, inner: Tensor | None = None, windows: Tensor | None = None
    ) -> Tensor:
        """Unit vectors float32 (n, 1 + regions² + inner, dim): of each image, then of its parts.

        `inner` are 8-bit RGB pictures (n inner, 3, rows, columns) that lie in the images, `windows`
        such pictures (n regions², 3, rows, columns) of the regions, to be looked at one by one.
        """
        pixels = (images.float() - self.mean) / self.std
        features = {
            scale: self.features_at(pixels, scale) for scale in dict.fromkeys((*self.scales, 1.0))
        }
        wholes = [self.generalised_mean(features[scale]) for scale in self.scales]
        pooled = torch.stack(wholes).mean(0)[:, None]
        if windows is not None:
            pooled = torch.cat([pooled, self.pooled_by_image(windows, len(images))], 1)
        elif self.regions:
            pooled = torch.cat([pooled, self.regional_means(features[1.0])], 1)
        if inner is not None:
            pooled = torch.cat([pooled, self.pooled_by_image(inner, len(images))], 1)
        n, each, channels = pooled.shape
        return self.vectors_of(pooled.reshape(n * each, channels)).reshape(n, each, -1)

    def pooled_by_image(self, pictures: Tensor, images: int) -> Tensor:
        """Pooled features (images, pictures of each, channels) of 8-bit pictures, seen once."""
        features = self.features_at((pictures.float() - self.mean) / self.std, 1.0)
        means = self.generalised_mean(features)
        return means.reshape(images, -1, means.shape[1])

    def regional_means(self, features: Tensor) -> Tensor:
        """Features float32 (n, channels, rows, columns) pooled in each window: (n, windows,
        channels), row by row."""
        down, across = (
            windows(int(cells), self.regions).to(features) for cells in features.shape[2:]
        )
        raised = features if self.gem_p == 1 else features.clamp(min=1e-6).pow(self.gem_p)
        means = (down @ raised @ across.T).flatten(2).transpose(1, 2)
        return means if self.gem_p == 1 else means.pow(1 / self.gem_p)

    def vectors_of(self, pooled: Tensor) -> Tensor:
        """Unit vectors float32 (n, dim) of pooled features (n, channels)."""
        codes = self.head(pooled).float()
        vectors = functional.normalize(self.compared(codes))
        return vectors if self.background is None else apart_from(self.background, vectors)


def shared_with(background: Tensor, vectors: Tensor) -> Tensor:
    """What unit vectors (n, dim) share with the images of their kind: (n, dim), to be subtracted.

    Images of one kind (receipts, shirts, a road through a windscreen) lie close together although
    none is a copy of another. The mean of the background (m, dim) near an image, weighted by a
    softmax of the cosines, stands for its kind.
    """
    background = background.float()
    weights = (vectors @ background.T / BACKGROUND_TEMPERATURE).softmax(1)
    return BACKGROUND_SHARE * weights @ background


def apart_from(background: Tensor, vectors: Tensor) -> Tensor:
    """Unit vectors (n, dim) less what they share with a background, made unit vectors again.

    What remains tells images of a kind apart. In effect this is score normalisation (Pizzi et al.
    2022), which subtracts from a pair's score each image's similarity to a background, but it
    leaves vectors whose cosine needs no correction.
    """
    return functional.normalize(vectors - shared_with(background, vectors))


def load_network(
    path: Path,
    architecture: str,
    dim: int,
    gem_p: float,
    scales: tuple[float, ...],
    regions: int = 0,
) -> DescriptorNetwork:
    """Build the network and fill it from a safetensors file (float16 or float32), in eval mode."""
    network = DescriptorNetwork(architecture, dim, gem_p)
    network.scales, network.regions = scales, regions
    state = load_file(path)
    background = state.pop("background", None)
    network.load_state_dict(state)
    # In float32 here: OpenVINO 2026.4 crashes compiling a half-precision constant of the network.
    network.background = None if background is None else background.float()
    return network.eval()
