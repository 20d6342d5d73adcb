"""Where two images match: exact sums, and right about crops, pastes and mirrors."""

from __future__ import annotations

import importlib.util
import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import builders
import numpy as np
import pytest
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file

import idedup_tasks
from idedup_tasks.descriptors import load_card, load_descriptor
from idedup_tasks.descriptors.card import DescriptorError, file_sha256
from idedup_tasks.descriptors.network import DescriptorNetwork
from idedup_tasks.descriptors.torch_runtime import load_card_network
from idedup_tasks.explanation import Explanation, decide, find_where, picture
from idedup_tasks.explanation.alignment import Box, align
from idedup_tasks.explanation.places import PlaceNetwork
from idedup_tasks.settings import Thresholds

if TYPE_CHECKING:
    import torch

THRESHOLDS = Thresholds(pair=0.6, candidate=0.55, cut=0.45, phash_distance=8)


@pytest.fixture(scope="module")
def network() -> PlaceNetwork:
    return PlaceNetwork(load_card())


def photograph(name: str) -> Image.Image:
    """A photograph that scikit-image ships, or a generated picture."""
    if name == "scene":
        return builders.scene(5, 320)
    found = importlib.util.find_spec("skimage")
    assert found is not None
    assert found.origin is not None
    return Image.open(Path(found.origin).parent / "data" / f"{name}.png").convert("RGB")


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    across = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    down = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return across * down / (area - across * down)


def inside(box: Box, shape: tuple[int, ...]) -> np.ndarray:
    rows, columns = ((np.arange(n) + 0.5) / n for n in shape)
    across = (columns > box[0]) & (columns < box[2])
    return ((rows > box[1]) & (rows < box[3]))[:, None] & across[None, :]


@pytest.mark.parametrize("power", [3.0, 1.0])
@pytest.mark.parametrize("scales", [(1.0,), (1.0, 0.6667, 0.5)])
def test_the_parts_of_an_image_add_up_to_its_vector(
    power: float, scales: tuple[float, ...]
) -> None:
    import torch

    card = replace(load_card(), gem_p=power, scales=scales)
    image = photograph("coffee")
    found = PlaceNetwork(card).parts(image)
    with torch.inference_mode():
        whole = load_card_network(card)(pixels(image, card.input_size))[0].numpy()
    np.testing.assert_allclose(found.vector, whole, atol=2e-6)
    np.testing.assert_allclose(found.parts.sum(axis=(0, 1)), whole, atol=2e-6)


def pixels(image: Image.Image, side: int) -> torch.Tensor:
    """What a network is given of an image: uint8 (1, 3, side, side)."""
    import torch

    small = image.resize((side, side), Image.Resampling.BICUBIC)
    return torch.tensor(np.asarray(small)).permute(2, 0, 1)[None]


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "scene"])
def test_places_are_those_of_the_pytorch_network(name: str, network: PlaceNetwork) -> None:
    import torch
    from torch.nn import functional

    card, image = load_card(), photograph(name)
    reference = load_card_network(card)
    side = round(2.5 * card.input_size)
    with torch.inference_mode():
        normalised = (pixels(image, side).float() - reference.mean) / reference.std
        features = reference.features_at(normalised, 1.0)[0].clamp(min=1e-6)
        expected = functional.normalize(reference.head(features.permute(1, 2, 0)), dim=2)
    seen = network.closely(image)
    assert seen.shape == (15, 15, card.dim)
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen, expected.numpy(), atol=1e-5)


def test_a_place_gives_what_the_vector_changes_by_with_it(tmp_path: Path) -> None:
    """Euler's theorem, by PyTorch's gradients: of one scale, and without a background."""
    import torch

    shipped = load_card()
    for file in shipped.converted:
        shutil.copy(shipped.folder / file, tmp_path)
    state = load_file(shipped.folder / shipped.weights)
    del state["background"]
    save_file(state, tmp_path / shipped.weights)
    card = replace(
        shipped,
        scales=(1.0,),
        folder=tmp_path,
        weights_sha256=file_sha256(tmp_path / shipped.weights),
    )
    image, reference = photograph("coffee"), load_card_network(card)
    with torch.inference_mode():
        normalised = (pixels(image, card.input_size).float() - reference.mean) / reference.std
        features = reference.features_at(normalised, 1.0)
    features = features.clone().requires_grad_()
    towards = torch.tensor(np.random.default_rng(0).normal(size=card.dim), dtype=torch.float32)
    head = reference.head
    vector = head(reference.generalised_mean(features))[0]
    (vector @ towards).backward()
    places = features[0, 0].numel()
    whole = (features * features.grad)[0].sum(0) + (head.bias @ towards) / places
    found = PlaceNetwork(card).parts(image).parts @ towards.numpy()
    np.testing.assert_allclose(found, (whole / vector.norm()).detach().numpy(), atol=1e-5)


def test_what_is_explained_is_what_the_workflow_compares(network: PlaceNetwork) -> None:
    image = photograph("chelsea")
    [compared] = load_descriptor(device="cpu").encode([image])
    assert network.parts(image).vector @ compared >= 0.999


def test_of_equal_images_every_place_is_alike(network: PlaceNetwork) -> None:
    image = photograph("astronaut")
    where = find_where(network, image, image)
    np.testing.assert_array_equal(where.similarity_a, where.similarity_b)
    np.testing.assert_array_equal(where.contribution_a, where.contribution_b)
    assert where.similarity_a.min() > 0.99
    assert where.contribution_a.sum() == pytest.approx(1, abs=1e-4)
    assert where.common is not None
    assert where.common.box_a == where.common.box_b == (0, 0, 1, 1)
    assert all((p.xa, p.ya) == (p.xb, p.yb) for p in where.points)
    assert len(where.points) == 5


@pytest.mark.parametrize("name", ["astronaut", "coffee", "scene"])
def test_a_crop_is_found_in_its_original(network: PlaceNetwork, name: str) -> None:
    image = photograph(name)
    box = (0.3, 0.05, 0.95, 0.7)
    size = (image.width, image.height) * 2
    crop = image.crop(tuple(int(s * n) for s, n in zip(box, size, strict=True)))  # type: ignore[arg-type]
    where = find_where(network, image, crop)
    within = inside(box, where.similarity_a.shape)
    assert where.similarity_a[within].mean() > where.similarity_a[~within].mean() + 0.4
    assert where.common is not None
    assert overlap(where.common.box_a, box) > 0.75
    assert overlap(where.common.box_b, (0, 0, 1, 1)) > 0.75
    cosine = network.parts(image).vector @ network.parts(crop).vector
    assert where.contribution_a.sum() == pytest.approx(cosine, abs=1e-4)
    assert where.contribution_b.sum() == pytest.approx(cosine, abs=1e-4)
    if name == "coffee":  # and the other way round
        back = find_where(network, crop, image)
        assert back.common is not None
        assert overlap(back.common.box_b, box) > 0.75


def test_what_was_pasted_over_does_not_match(network: PlaceNetwork) -> None:
    image, other = photograph("coffee"), photograph("astronaut")
    copy = image.copy()
    copy.paste(other.resize((image.width // 2, image.height // 2)), (0, 0))
    where = find_where(network, image, copy)
    pasted = inside((0, 0, 0.5, 0.5), where.similarity_a.shape)
    for found in (where.similarity_a, where.similarity_b):
        assert found[pasted].mean() < found[~pasted].mean() - 0.3


def test_unrelated_pictures_have_nothing_in_common(network: PlaceNetwork) -> None:
    where = find_where(network, photograph("astronaut"), photograph("coffee"))
    assert where.common is None
    assert where.points == ()
    assert 0 < where.similarity_a.mean() < 0.7


def test_a_turned_copy_is_shown_upright(network: PlaceNetwork) -> None:
    image = photograph("astronaut")
    turned = image.transpose(Image.Transpose.ROTATE_270)
    where = find_where(network, image, turned, Image.Transpose.ROTATE_90)
    assert where.similarity_b.min() > 0.99
    as_it_is = find_where(network, turned, image)
    np.testing.assert_allclose(np.rot90(as_it_is.contribution_a), where.contribution_b, atol=1e-5)


def test_align_finds_scale_and_shift() -> None:
    rng = np.random.default_rng(3)
    b = rng.normal(size=(15, 15, 64)).astype(np.float32)
    b /= np.linalg.norm(b, axis=2, keepdims=True)
    # Each place of the second image is two places of the first, from its middle on.
    rows, columns = np.meshgrid(np.arange(15), np.arange(15), indexing="ij")
    found = align(b[(rows // 2) + 4, (columns // 2) + 2], b)
    assert found.box_a == pytest.approx((0, 0, 1, 1))
    assert overlap(found.box_b, (2 / 15, 4 / 15, 9.5 / 15, 11.5 / 15)) > 0.8
    unrelated = rng.normal(size=(15, 15, 64)).astype(np.float32)
    unrelated /= np.linalg.norm(unrelated, axis=2, keepdims=True)
    assert align(unrelated, b).score < 0.05 < found.score


@pytest.mark.parametrize(
    ("arguments", "relation", "uncertain", "said"),
    [
        ((True, True, 0, 1.0, None), "exact", False, "same bytes"),
        ((False, True, 0, 1.0, None), None, False, "by its bytes only"),
        ((False, False, 8, 0.1, None), "perceptual", False, "differ in 8 of 64 bits"),
        ((False, False, 9, 0.7, None), "near", False, "0.7000 reaches the pair threshold of 0.6"),
        ((False, False, 9, 0.6, None), "near", True, "within 0.05"),
        ((False, False, 9, 0.6499, None), "near", True, "within 0.05"),
        ((False, False, 9, 0.65, None), "near", False, "reaches"),
        ((False, False, 9, 0.5501, 0.5), None, True, "within 0.05"),
        ((False, False, 9, 0.4, 0.5), None, False, "is below the pair threshold"),
        ((False, False, 9, 0.4, 0.9), None, False, "parts that both show have a cosine of 0.9"),
    ],
)
def test_verdicts(arguments: Any, relation: str | None, uncertain: bool, said: str) -> None:
    found = decide(*arguments, THRESHOLDS, 0.05)
    assert found[:2] == (relation, uncertain)
    assert said in found[2]


def test_a_network_without_places_is_refused(tmp_path: Path) -> None:
    network = DescriptorNetwork("idedupnet", 256, 1.0)
    save_file(network.state_dict(), tmp_path / "idedupnet.safetensors")
    card = replace(
        load_card(),
        name="idedupnet",
        architecture="idedupnet",
        folder=tmp_path,
        weights="idedupnet.safetensors",
        weights_sha256=file_sha256(tmp_path / "idedupnet.safetensors"),
    )
    with pytest.raises(DescriptorError, match="its head is not linear"):
        PlaceNetwork(card)


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Explanation:
    folder = tmp_path_factory.mktemp("two")
    image = photograph("astronaut")
    image.save(folder / "a.png")
    ImageOps.mirror(image.crop((0, 0, 400, 512))).save(folder / "<b>&.jpg")
    return idedup_tasks.explain(folder / "a.png", folder / "<b>&.jpg")


def test_explain_says_mirrored(mirrored: Explanation) -> None:
    assert mirrored.turn == "mirrored"
    assert mirrored.turned_cosine > 0.7
    assert mirrored.where.common is not None
    assert overlap(mirrored.where.common.box_a, (0, 0, 400 / 512, 1)) > 0.7
    assert mirrored.common_cosine is not None
    assert mirrored.common_cosine > 0.8
    assert not mirrored.same_bytes
    assert mirrored.decided is None
    assert mirrored.to_dict()["turn"] == "mirrored"


def test_the_drawings(mirrored: Explanation, tmp_path: Path) -> None:
    mirrored.save(tmp_path / "why.png")
    with Image.open(tmp_path / "why.png") as drawn:
        assert drawn.width >= 900
        assert drawn.height > 1000
    mirrored.save(str(tmp_path / "why.html"))
    page = (tmp_path / "why.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;&amp;.jpg" in page
    assert "<b>&" not in page
    assert page.count("data:image/jpeg;base64,") == 6
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    for name in ("why.pdf", "why"):
        with pytest.raises(ValueError, match=rf"{name} is neither \.html nor \.png: name a file"):
            mirrored.save(str(tmp_path / name))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["why.html", "why.png"]


def test_a_heat_map_is_lighter_where_it_is_higher() -> None:
    colours = picture.coloured(np.linspace(0, 1, 50)[None])
    light = colours @ [0.299, 0.587, 0.114]
    assert (np.diff(light) > 0).all()
    grey = Image.new("L", (64, 64), 128)
    drawn = np.asarray(picture.overlay(grey, np.array([[0.0, 1.0]])).convert("L"), np.float64)
    assert drawn[:, 56:].mean() > drawn[:, :8].mean() + 40


def test_unrelated_pictures_do_not_light_up(mirrored: Explanation) -> None:
    """The colours of contributions are not stretched until something is yellow."""
    little = np.full((5, 5), 0.002, np.float32)
    where = replace(mirrored.where, contribution_a=little, contribution_b=little)
    drawn = picture.contribution(replace(mirrored, where=where), "a")
    bright = picture.overlay(mirrored.picture_a, np.ones((5, 5)))
    assert np.asarray(drawn).mean() < 0.6 * np.asarray(bright).mean()
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG")
