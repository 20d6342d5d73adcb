"""Two images explained: drawn as they lie on each other, and heat maps with exact sums."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import builders
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps
from safetensors.torch import load_file, save_file

import idedup_tasks
from idedup_tasks.descriptors import load_card, load_descriptor
from idedup_tasks.descriptors.card import DescriptorError, file_sha256
from idedup_tasks.descriptors.network import DescriptorNetwork
from idedup_tasks.descriptors.torch_runtime import load_card_network
from idedup_tasks.explanation import TURNS, Explanation, Pair, draw, find_where, picture, share
from idedup_tasks.explanation.drawing import ACCENT
from idedup_tasks.explanation.places import PlaceNetwork
from idedup_tasks.verification import Picture, look

if TYPE_CHECKING:
    import torch

Box = tuple[float, float, float, float]


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


def pictured(image: Image.Image) -> Picture:
    """As a collection stores it: with a short side of 256 pixels at most."""
    shrink = min(1.0, 256 / min(image.size))
    small = image.resize((round(image.width * shrink), round(image.height * shrink)))
    return Picture(np.asarray(small), width=image.width, height=image.height)


def drawn(a: Image.Image, b: Image.Image) -> Pair:
    """Two images drawn as a look at them finds them."""
    one, other = pictured(a), pictured(b)
    seen = look(one, other)
    return draw(one, other, None if seen.evidence.way == "none" else seen.transform)


def lettered(image: Image.Image, at: tuple[int, int]) -> Image.Image:
    copy = image.copy()
    pen = ImageDraw.Draw(copy)
    pen.text(at, "HELLO WORLD", "white", ImageFont.load_default(copy.height // 10))
    return copy


def is_marked(picture: Image.Image) -> np.ndarray:
    """Where the accent colour is: bool (height, width)."""
    return (np.abs(np.asarray(picture, np.int16) - ACCENT) <= 2).all(axis=2)


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
    where = find_where(network, image, image, drawn(image, image))
    np.testing.assert_array_equal(where.similarity_a, where.similarity_b)
    np.testing.assert_array_equal(where.contribution_a, where.contribution_b)
    assert where.similarity_a.min() > 0.99
    assert where.contribution_a.sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
def test_the_places_of_a_crop_are_those_of_its_original(network: PlaceNetwork, name: str) -> None:
    image = photograph(name)
    box = (0.3, 0.05, 0.95, 0.7)
    size = (image.width, image.height) * 2
    crop = image.crop(tuple(int(s * n) for s, n in zip(box, size, strict=True)))  # type: ignore[arg-type]
    where = find_where(network, image, crop, drawn(image, crop))
    within = inside(box, where.similarity_a.shape)
    assert where.similarity_a[within].mean() > where.similarity_a[~within].mean() + 0.8
    assert where.similarity_b.mean() > 0.9
    cosine = network.parts(image).vector @ network.parts(crop).vector
    assert where.contribution_a.sum() == pytest.approx(cosine, abs=1e-4)
    assert where.contribution_b.sum() == pytest.approx(cosine, abs=1e-4)


def test_what_was_pasted_over_does_not_match(network: PlaceNetwork) -> None:
    image, other = photograph("coffee"), photograph("astronaut")
    copy = image.copy()
    copy.paste(other.resize((image.width // 2, image.height // 2)), (0, 0))
    where = find_where(network, image, copy, drawn(image, copy))
    pasted = inside((0, 0, 0.5, 0.5), where.similarity_a.shape)
    for found in (where.similarity_a, where.similarity_b):
        assert found[pasted].mean() < found[~pasted].mean() - 0.3


def test_of_unrelated_pictures_places_are_what_they_are_most_like(network: PlaceNetwork) -> None:
    a, b = photograph("astronaut"), photograph("coffee")
    pair = drawn(a, b)
    assert pair.laid is None
    where = find_where(network, a, b, pair)
    assert 0 < where.similarity_a.mean() < 0.7


def test_a_turned_copy_stands_upright(network: PlaceNetwork) -> None:
    image = photograph("astronaut")
    turned = image.transpose(Image.Transpose.ROTATE_270)
    pair = drawn(image, turned)
    assert TURNS[pair.turn] == "turned by 90° to the left"
    assert difference(pair.a, pair.b) < 4
    where = find_where(network, image, turned, pair)
    assert where.similarity_b.min() > 0.9
    as_it_is = find_where(network, turned, image, drawn(turned, image))
    np.testing.assert_allclose(np.rot90(as_it_is.contribution_a), where.contribution_b, atol=1e-5)


def difference(a: Image.Image, b: Image.Image) -> float:
    """Mean, in levels."""
    return float(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).mean())


def test_what_was_written_on_a_picture_is_marked_in_both() -> None:
    image = photograph("coffee")
    pair = drawn(image, lettered(image, (20, 300)))
    for which in "ab":
        shown = pair.marked(which, (400, 400))
        marks = is_marked(shown)
        rows, columns = np.nonzero(marks)
        assert marks.sum() > 200, which
        assert 0.65 * shown.height < rows.min() < rows.max() < 0.95 * shown.height
        assert columns.max() < 0.65 * shown.width
    assert is_marked(pair.on_each_other((400, 400))).any()


def test_nothing_is_marked_where_nothing_differs() -> None:
    image = photograph("astronaut")
    pair = drawn(image, image.resize((300, 300)))
    for shown in (pair.marked("a", (300, 300)), pair.beside(200), pair.on_each_other((300, 300))):
        assert not is_marked(shown).any()
    assert difference(pair.marked("a", (256, 256)), pair.a) == 0, "nor is anything dark"


@pytest.mark.parametrize("way", [None, *Image.Transpose])
def test_a_crop_lies_where_it_was_cut_out_however_it_was_turned(way: Image.Transpose) -> None:
    image = photograph("astronaut")
    crop = image.crop((128, 0, 448, 400))
    pair = drawn(image, crop if way is None else crop.transpose(way))
    shown, plain = pair.marked("a", (256, 256)), pair.a
    change = np.abs(np.asarray(shown, np.int16) - np.asarray(plain, np.int16)).sum(axis=2)
    assert (change[6:190, 70:218] == 0).all(), "what it shows is as it is"
    assert (change[206:] > 0).mean() > 0.9, "what it does not show is dark"
    assert (change[:, :58] > 0).mean() > 0.9
    laid = pair.on_each_other((256, 256)).crop((70, 6, 218, 190))
    assert difference(laid, plain.crop((70, 6, 218, 190))) < 5, "it lies on what it shows"


def test_a_drawing_is_as_small_as_it_is_asked_to_be() -> None:
    image = photograph("coffee")
    pair = drawn(image, image.crop((100, 50, 500, 350)))
    assert pair.beside(160).width <= 2 * 160 + 8
    assert pair.beside(160).height <= 160
    assert max(pair.marked("b", (90, 90)).size) == 90


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "0 %"), (0.0003, "less than 0.1 %"), (0.004, "0.4 %"), (0.62, "62 %"), (1.0, "100 %")],
)
def test_shares_as_people_read_them(value: float, said: str) -> None:
    assert share(value) == said


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


def test_explain_says_what_a_look_sees(mirrored: Explanation) -> None:
    assert mirrored.relation == "crop"
    assert mirrored.why == "A crop: the second shows 78 % of the first; the second is mirrored."
    assert mirrored.turn == "mirrored"
    assert mirrored.score > 0.9
    assert mirrored.changed == 0
    assert mirrored.place == ""
    assert mirrored.decided is None
    assert mirrored.drawing.width <= 2 * 480 + 8
    measured = json.loads(json.dumps(mirrored.to_dict()))
    assert measured["overlap_a"] == pytest.approx(400 / 512, abs=0.02)
    assert set(measured["thresholds"]) == {"candidate", "phash_distance"}
    compared = idedup_tasks.compare(mirrored.a, mirrored.b)
    assert (compared.relation, compared.score) == (mirrored.relation, mirrored.score)


@pytest.mark.parametrize(
    ("second", "relation", "said"),
    [
        ("a.png", "exact", "the two files have the same bytes"),
        ("small.jpg", "same", "all that both show agrees."),
        ("lettered.png", "edited", " of what both show differs, mostly top"),
        ("framed.png", "inside", "the first fills "),
        ("other.png", "different", "nothing was found that both show"),
    ],
)
def test_what_was_seen_in_a_sentence(tmp_path: Path, second: str, relation: str, said: str) -> None:
    image = photograph("astronaut")
    image.save(tmp_path / "a.png")
    image.resize((300, 300)).save(tmp_path / "small.jpg")
    lettered(image, (20, 20)).save(tmp_path / "lettered.png")
    framed = Image.new("RGB", (900, 1100), (20, 60, 120))
    framed.paste(image, (190, 300))
    framed.save(tmp_path / "framed.png")
    photograph("coffee").save(tmp_path / "other.png")
    found = idedup_tasks.explain(tmp_path / "a.png", tmp_path / second)
    assert found.relation == relation
    assert said in found.why
    # Of what nothing is shown by both, no share differs.
    measured = {name for name, _ in picture.facts(found)}
    assert ({"Both show", "Differs"} <= measured) == (relation != "different")


def test_the_drawings(mirrored: Explanation, tmp_path: Path) -> None:
    mirrored.save(tmp_path / "why.png")
    with Image.open(tmp_path / "why.png") as drawn:
        assert drawn.width >= 900
        assert drawn.height > 1000
    mirrored.save(str(tmp_path / "why.html"))
    page = (tmp_path / "why.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;&amp;.jpg" in page
    assert "<b>&" not in page
    assert page.count("data:image/jpeg;base64,") == 8
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    # What decides comes before why they were proposed.
    assert page.index("A crop: ") < page.index("laid on it") < page.index("What proposes a look")
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
    bright = picture.overlay(mirrored.pair.a, np.ones((5, 5)))
    assert np.asarray(drawn).mean() < 0.6 * np.asarray(bright).mean()
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG")
