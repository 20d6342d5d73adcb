"""Edited copies of photographs, made in batches: the views that the descriptor must keep together.

Geometry and colour work on whole batches of tensors; what touches a part of one image (pasted
patches, text, frames, JPEG) works on its array.
"""

import io
import string
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torch import Tensor
from torch.nn import functional

from idedup_tasks.training.photos import PhotoCache

GREY = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)


# Of the strong views, so many are cropped only, and so many only made tiny and compressed hard:
# what is left of a photograph after either is little, and other edits upon it would leave nothing.
CROPPED_ONLY = 0.25
COMPRESSED_ONLY = 0.12


def window_transforms(
    aspects: np.ndarray, strong: bool, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Random windows onto photographs of the given aspect ratios (width / height).

    Returns affine maps float32 (n, 2, 3) from output to source coordinates, both in [-1, 1]; what
    falls outside [-1, 1] of the source is background. The second array, float32 (n), is how many
    source pixels an output pixel spans relative to a full view.
    """
    n = len(aspects)
    area = np.ones(n)
    rotation = np.zeros(n)
    quarter = np.zeros(n, int)
    if strong:
        kind = rng.random(n)
        crops = kind < 0.6
        area[crops] = np.exp(rng.uniform(np.log(0.13), 0, crops.sum()))
        zooms = kind > 0.85
        area[zooms] = 1 / rng.uniform(0.2, 0.95, zooms.sum())
        rotated = rng.random(n)
        rotation = np.where(rotated < 0.3, rng.uniform(-30, 30, n), rotation)
        rotation = np.where(rotated < 0.05, rng.uniform(-180, 180, n), rotation)
        quarter = np.where(rng.random(n) < 0.2, rng.integers(1, 4, n), 0)
        mirror = rng.random(n) < 0.25
    else:
        crops = rng.random(n) < 0.4
        area[crops] = rng.uniform(0.8, 1, crops.sum())
        mirror = rng.random(n) < 0.05
    jitter = np.exp(rng.uniform(-0.4, 0.4, n)) * (area < 1) + (area >= 1)
    wide = np.sqrt(area * jitter)
    high = np.sqrt(area / jitter)
    wide, high = (
        np.where(area < 1, np.minimum(wide, 1), wide),
        np.where(area < 1, np.minimum(high, 1), high),
    )
    half_x, half_y = aspects * wide, high
    shift_x = rng.uniform(-1, 1, n) * (aspects - half_x)
    shift_y = rng.uniform(-1, 1, n) * (1 - half_y)
    angle = np.deg2rad(rotation)
    cos, sin = np.cos(angle), np.sin(angle)
    # A rotated picture is cut to the same canvas, cut inside its own edges, or shown whole.
    mode = rng.integers(0, 3, n)
    inside = 1 / (np.abs(cos) + np.maximum(half_x / half_y, half_y / half_x) * np.abs(sin))
    whole_x = (half_x * np.abs(cos) + half_y * np.abs(sin)) / half_x
    whole_y = (half_x * np.abs(sin) + half_y * np.abs(cos)) / half_y
    half_x = half_x * np.choose(mode, [np.ones(n), inside, whole_x])
    half_y = half_y * np.choose(mode, [np.ones(n), inside, whole_y])
    turns = np.array([[[1, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]]])
    maps = turns[quarter].astype(np.float64)
    maps[:, 0] *= np.where(mirror, -1, 1)[:, None]
    maps = np.stack([half_x, half_y], 1)[:, :, None] * maps
    maps = np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1) @ maps
    maps = np.concatenate([maps, np.stack([shift_x, shift_y], 1)[:, :, None]], 2)
    maps[:, 0] /= aspects[:, None]
    span = np.sqrt(half_x * half_y / aspects)
    return maps.astype(np.float32), span.astype(np.float32)


def look_through(
    pixels: Tensor, maps: Tensor, spans: np.ndarray, side: int, rng: np.random.Generator
) -> Tensor:
    """Sample windows of uint8 images (n, 3, s, s) into float (n, 3, side, side) in [0, 255]."""
    n = len(pixels)
    source = pixels.float()
    grid = functional.affine_grid(maps, [n, 3, side, side], align_corners=False)
    views = functional.grid_sample(source, grid, padding_mode="border", align_corners=False)
    # Where an output pixel spans two source pixels or more, a halved source avoids aliasing.
    coarse = np.flatnonzero(spans * source.shape[2] / side > 1.7)
    if len(coarse):
        half = functional.avg_pool2d(source[coarse], 2)
        views[coarse] = functional.grid_sample(
            half, grid[coarse], padding_mode="border", align_corners=False
        )
    outside = (grid.abs() > 1).any(3)[:, None]
    kind = rng.random(n)
    backgrounds = torch.from_numpy(rng.uniform(0, 255, (n, 3, 1, 1)).astype(np.float32))
    backgrounds[kind < 0.5] = 255.0
    backgrounds[kind < 0.25] = 0.0
    filled = torch.where(outside, backgrounds, views)
    pictures = np.flatnonzero((kind > 0.7) & (kind < 0.9))
    if len(pictures):
        other = functional.interpolate(
            source[(pictures + 1) % n], (side, side), mode="bilinear", align_corners=False
        )
        filled[pictures] = torch.where(outside[pictures], other, views[pictures])
    # The rest keeps the stretched edge.
    edges = np.flatnonzero(kind >= 0.9)
    filled[edges] = views[edges]
    return filled


def recolour(views: Tensor, strong: bool, rng: np.random.Generator) -> Tensor:
    """Random brightness, contrast, saturation, tint, gamma, greys, inversion and noise."""
    n = len(views)

    def factor(low: float, high: float, share: float, channels: int = 1) -> Tensor:
        values = rng.uniform(low, high, (n, channels, 1, 1))
        values = np.where(rng.random((n, 1, 1, 1)) < share, values, 1.0)
        return torch.from_numpy(values.astype(np.float32))

    if not strong:
        return (views * factor(0.9, 1.1, 0.3)).clamp(0, 255)
    views = views * factor(0.45, 1.6, 0.35) * factor(0.75, 1.25, 0.2, 3)
    middle = views.mean((1, 2, 3), keepdim=True)
    views = middle + (views - middle) * factor(0.35, 1.8, 0.35)
    grey = (views * GREY).sum(1, keepdim=True)
    saturation = factor(0.2, 2.0, 0.25)
    saturation[rng.random(n) < 0.12] = 0.0
    views = (grey + (views - grey) * saturation).clamp(0, 255)
    curved = np.flatnonzero(rng.random(n) < 0.15)
    gamma = rng.uniform(0.5, 1.8, (len(curved), 1, 1, 1)).astype(np.float32)
    views[curved] = 255 * (views[curved] / 255) ** torch.from_numpy(gamma)
    sepia = torch.from_numpy(rng.random(n) < 0.04)
    views[sepia] = views[sepia] * torch.tensor([1.1, 0.95, 0.7]).view(1, 3, 1, 1)
    swapped = np.flatnonzero(rng.random(n) < 0.03)
    views[swapped] = views[swapped][:, torch.from_numpy(rng.permutation(3))]
    inverted = torch.from_numpy(rng.random(n) < 0.01)
    views[inverted] = 255 - views[inverted]
    noisy = np.flatnonzero(rng.random(n) < 0.15)
    if len(noisy):
        size = (len(noisy), *views.shape[1:])
        sigma = rng.uniform(4, 40, (len(noisy), 1, 1, 1)).astype(np.float32)
        views[noisy] += torch.from_numpy(sigma * rng.standard_normal(size, np.float32))
    return views.clamp(0, 255)


def text_mask(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """A few random words, as an opacity mask float32 (height, width) in [0, 1]."""
    image = Image.new("L", (width, height))
    draw = ImageDraw.Draw(image)
    letters = np.array(list(string.ascii_letters + string.digits))
    size = float(rng.uniform(0.06, 0.22) * height)
    font = ImageFont.load_default(size)
    for _ in range(rng.integers(1, 4)):
        words = [
            "".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(rng.integers(1, 5))
        ]
        at = (float(rng.uniform(-0.05, 0.5) * width), float(rng.uniform(0, 0.95) * height))
        draw.text(at, " ".join(words), fill=255, font=font)
    return np.asarray(image, np.float32) / 255


def paste_patch(view: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> None:
    """Cover up to a third of a view (side, side, 3) with a part of another, in place."""
    side = len(view)
    high, wide = (int(side * s) for s in rng.uniform(0.12, 0.6, 2))
    top, left = rng.integers(0, side - high), rng.integers(0, side - wide)
    if rng.random() < 0.4:
        patch = np.asarray(Image.fromarray(other).resize((wide, high), Image.Resampling.BILINEAR))
    elif rng.random() < 0.7:
        patch = other[top : top + high, left : left + wide]
    else:
        patch = np.broadcast_to(rng.integers(0, 256, 3).astype(np.uint8), (high, wide, 3))
    target = view[top : top + high, left : left + wide]
    opacity = 1.0 if rng.random() < 0.7 else rng.uniform(0.4, 1)
    target[:] = (opacity * patch + (1 - opacity) * target).astype(np.uint8)


def write_text(view: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> None:
    """Blend text into a view in place."""
    colour = rng.choice([0.0, 255.0]) if rng.random() < 0.7 else rng.uniform(0, 255, 3)
    opacity = (mask * rng.uniform(0.5, 1))[:, :, None]
    view[:] = (opacity * colour + (1 - opacity) * view).astype(np.uint8)


def draw_frame(view: np.ndarray, rng: np.random.Generator) -> None:
    """Bars along edges: plain borders, caption bands, the bars of a screenshot, in place."""
    side = len(view)
    colour = np.uint8(rng.choice([0, 255])) if rng.random() < 0.6 else rng.integers(0, 256, 3)
    if rng.random() < 0.5:
        width = int(side * rng.uniform(0.02, 0.1))
        view[:width], view[side - width :] = colour, colour
        view[:, :width], view[:, side - width :] = colour, colour
    else:
        top, bottom = (int(side * s) for s in rng.uniform(0, 0.2, 2))
        view[:top], view[side - bottom :] = colour, colour


def crop_windows(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Upright windows of 13 to 100 % of the area and the photograph's proportions; as
    `window_transforms`."""
    spans = np.sqrt(np.exp(rng.uniform(np.log(0.13), 0, n))).astype(np.float32)
    maps = spans[:, None, None] * np.eye(2, 3, dtype=np.float32)
    maps[:, :, 2] = rng.uniform(-1, 1, (n, 2)) * (1 - spans)[:, None]
    return maps, spans


def compress_only(view: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A view (side, side, 3) at a fifth to a half of its side as JPEG of quality 3 to 30."""
    side = len(view)
    small = int(side * np.exp(rng.uniform(np.log(0.2), np.log(0.5))))
    image = Image.fromarray(view).resize((small, small), Image.Resampling.BICUBIC)
    image = recompress(image, int(np.exp(rng.uniform(np.log(3), np.log(30)))))
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))


def recompress(image: Image.Image, quality: int) -> Image.Image:
    """The image as JPEG of the given quality has it."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def degrade(view: np.ndarray, strong: bool, rng: np.random.Generator) -> np.ndarray:
    """Blur, loss of resolution and JPEG compression of one view (side, side, 3)."""
    image = Image.fromarray(view)
    side = len(view)
    if strong and rng.random() < 0.12:
        image = image.filter(ImageFilter.BoxBlur(float(rng.uniform(0.5, 0.03 * side))))
    if strong and rng.random() < 0.3:
        small = int(np.exp(rng.uniform(np.log(0.3 * side), np.log(side))))
        image = image.resize((small, small), Image.Resampling.BILINEAR, reducing_gap=2.0)
    if rng.random() < (0.55 if strong else 0.3):
        quality = int(np.exp(rng.uniform(np.log(3), np.log(70)))) if strong else 75
        image = recompress(image, quality)
    if image.width != side:
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image)


def augment(
    pixels: np.ndarray, aspects: np.ndarray, side: int, strong: bool, rng: np.random.Generator
) -> Tensor:
    """One random view of each photograph: uint8 (n, 3, s, s) to uint8 (n, 3, side, side)."""
    maps, spans = window_transforms(aspects, strong, rng)
    kind = rng.random(len(pixels)) if strong else np.ones(len(pixels))
    cropped = kind < CROPPED_ONLY
    compressed = ~cropped & (kind < CROPPED_ONLY + COMPRESSED_ONLY)
    maps[cropped], spans[cropped] = crop_windows(int(cropped.sum()), rng)
    maps[compressed] = np.eye(2, 3, dtype=np.float32)
    spans[compressed] = 1
    views = look_through(torch.from_numpy(pixels), torch.from_numpy(maps), spans, side, rng)
    single = torch.from_numpy(cropped | compressed)[:, None, None, None]
    views = torch.where(single, views, recolour(views, strong, rng))
    arrays = views.byte().permute(0, 2, 3, 1).contiguous().numpy()
    finished = np.empty_like(arrays)
    masks = [text_mask(side, side, rng) for _ in range(8)] if strong else []
    for i, original in enumerate(arrays):
        if cropped[i]:
            finished[i] = degrade(original, False, rng)
            continue
        if compressed[i]:
            finished[i] = compress_only(original, rng)
            continue
        view = original.copy()
        if strong:
            if rng.random() < 0.3:
                paste_patch(view, arrays[i - 1], rng)
            if rng.random() < 0.12:
                draw_frame(view, rng)
            if rng.random() < 0.25:
                write_text(view, masks[rng.integers(len(masks))], rng)
        finished[i] = degrade(view, strong, rng)
    return torch.from_numpy(finished).permute(0, 3, 1, 2)


def view_batches(
    photos: PhotoCache, rows: np.ndarray, side: int, strong_views: int, rng: np.random.Generator
) -> Iterator[list[Tensor]]:
    """A mild and some strong views of the photographs in `rows`, each uint8 (n, 3, side, side), in
    batches of about 64."""
    for batch in np.array_split(rows, max(1, len(rows) // 64)):
        pixels, aspects = np.array(photos.pixels[batch]), photos.aspects[batch]
        kinds = [False] + [True] * strong_views
        yield [augment(pixels, aspects, side, strong, rng) for strong in kinds]
