"""Each network: one code builds, saves, converts and loads it, and its runtimes agree."""

from __future__ import annotations

import hashlib
import json
import urllib.error
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import scene, scenes
from PIL import Image

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402
from torchvision import models  # noqa: E402

from idedup_tasks.descriptors import (  # noqa: E402
    DecisionLevels,
    DescriptorCard,
    DescriptorError,
    load_card,
    load_descriptor,
)
from idedup_tasks.descriptors.card import INNER, PREPROCESSING, file_sha256  # noqa: E402
from idedup_tasks.descriptors.conversion import convert  # noqa: E402
from idedup_tasks.descriptors.lbid import deduplicate  # noqa: E402
from idedup_tasks.descriptors.named import WEIGHTS_FOLDER  # noqa: E402
from idedup_tasks.descriptors.network import (  # noqa: E402
    ARCHITECTURES,
    MEAN,
    STD,
    ConvolutionalEncoder,
    DescriptorNetwork,
    log_ratios,
)
from idedup_tasks.training import RECIPES, TrainingError, recipe_for  # noqa: E402
from idedup_tasks.training.pairs import augmented, best_threshold, pair_loss, resized  # noqa: E402
from idedup_tasks.training.recipes import UNLIMITED, Recipe  # noqa: E402
from idedup_tasks.training.start import initial_network  # noqa: E402

SIDE = 64


def saved(architecture: str, folder: Path) -> Path:
    """The sidecar of a network with random weights that tells pictures apart.

    As initialised, some make nearly the same vector of any image, on which all runtimes agree: so
    its normalisations are fitted to pictures, and so is the scale of its last layer.
    """
    torch.manual_seed(1)
    network = DescriptorNetwork(architecture, 256, RECIPES_BY_ARCHITECTURE[architecture].gem_p)
    for module in network.modules():
        if hasattr(module, "momentum"):
            module.momentum = None  # the statistics become those of the one batch
    arrays = [np.asarray(p.resize((SIDE, SIDE))) for p in scenes(8, first=50)]
    batch = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
    last = network.head if isinstance(network.head, torch.nn.Linear) else network.head[-2]
    seen = []
    last.register_forward_hook(lambda *call: seen.append(call[2]))
    with torch.no_grad():
        network(batch)
        network.eval()(batch)
        mean, spread = seen[1].mean(0), seen[1].std(0).clamp(min=1e-6)
        last.weight /= spread[:, None]
        last.bias.copy_((last.bias - mean) / spread)
        if architecture == "mobilenet_v3_small":
            # As the shipped one may have.
            network.background = torch.nn.functional.normalize(torch.randn(64, 256))
            network.scales = (1.0, 0.6667, 0.5)
    weights = folder / f"{architecture}.safetensors"
    half = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    save_file({k: v.contiguous() for k, v in half.items()}, weights)
    card = DescriptorCard(
        name=architecture,
        architecture=architecture,
        dim=256,
        input_size=SIDE,
        gem_p=network.gem_p,
        weights=weights.name,
        weights_sha256=file_sha256(weights),
        thresholds=DecisionLevels(0.9, 0.8, 0.7, 4),
        quantiser="",
        quantiser_sha256="",
        figures={},
        folder=folder,
        scales=network.scales,
    )
    return convert(card).write()


RECIPES_BY_ARCHITECTURE = {recipe.architecture: recipe for recipe in RECIPES.values()}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def sidecar(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(request.param, tmp_path_factory.mktemp(request.param))


def test_runtimes_of_each_network_agree(sidecar: Path) -> None:
    images = scenes(6)
    reference = load_descriptor(str(sidecar), "reference").encode(images)
    vectors = load_descriptor(str(sidecar), "cpu").encode(images)
    assert vectors.shape == (6, 256)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (vectors * reference).sum(1).min() >= 0.999
    # Agreement says something only where different pictures are told apart.
    assert (reference @ reference.T).min() < 0.998


def test_cuda_runtime_of_each_network_agrees(sidecar: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    images = scenes(6)
    reference = load_descriptor(str(sidecar), "reference").encode(images)
    vectors = load_descriptor(str(sidecar), "cuda").encode(images)
    assert (vectors * reference).sum(1).min() >= 0.999


def test_each_network_has_a_recipe() -> None:
    assert set(RECIPES_BY_ARCHITECTURE) == set(ARCHITECTURES)


def test_codes_of_the_papers_network_are_shares(tmp_path: Path) -> None:
    head = ConvolutionalEncoder(576, 256).eval()
    with torch.no_grad():
        codes = head(torch.rand(3, 576))
    assert codes.shape == (3, 256)
    assert codes.min() >= 0
    torch.testing.assert_close(codes.sum(1), torch.ones(3))
    kinds = [type(layer).__name__ for layer in head]
    assert [kinds.count(k) for k in ("Conv1d", "BatchNorm1d", "MaxPool1d", "Dropout")] == [
        *(3, 3, 3, 1)
    ]
    assert [layer.out_channels for layer in head if hasattr(layer, "out_channels")] == [
        *(64, 128, 256)
    ]


def test_codes_of_the_papers_network_are_compared_by_their_log_ratios() -> None:
    torch.manual_seed(0)
    network = DescriptorNetwork("idedupnet", 256, 3.0).eval()
    images = torch.from_numpy(np.stack([np.asarray(scene(i)) for i in range(4)])).permute(
        0, 3, 1, 2
    )
    with torch.no_grad():
        # As initialised, all shares of a small image are nearly the same.
        network.head[-2].bias.normal_()
        codes = network.head(network.pool(images)).double()
        vectors = network(images).double()
    ratios = codes.log() - codes.log().mean(1, keepdim=True)
    expected = ratios / ratios.norm(dim=1, keepdim=True)
    torch.testing.assert_close(vectors, expected, atol=1e-4, rtol=1e-3)
    # A share that underflows is a small one, not an infinite one.
    assert torch.isfinite(log_ratios(torch.tensor([[1.0, 0.0, 0.0]]))).all()


def test_papers_network_takes_pixels_between_zero_and_one() -> None:
    network = DescriptorNetwork("idedupnet", 256, 1.0).eval()
    seen = []
    network.features.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network(torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2).expand(1, 3, 32, 2))
    assert seen[0].min() == 0
    assert seen[0].max() == 1


def test_scales_are_pooled_together() -> None:
    torch.manual_seed(0)
    network = DescriptorNetwork("mobilenet_v3_small", 256, 3.0).eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        once = network.pool(images)
        network.scales = (1.0, 0.5)
        both = network.pool(images)
        half = torch.nn.functional.interpolate(
            images.float(), (32, 32), mode="bilinear", antialias=True
        )
        network.scales = (1.0,)
        torch.testing.assert_close(both, (once + network.pool(half)) / 2, atol=1e-4, rtol=1e-4)


def test_model_id_is_a_digest_of_what_decides_a_vector() -> None:
    card = load_card()
    identity = {
        "architecture": card.architecture,
        "gem_p": card.gem_p,
        "input_size": card.input_size,
        "precision": "float32",
        "preprocessing": PREPROCESSING,
        "inner": f"2: {INNER}",
        "regions": card.regions,
        "runtime": "openvino",
        "scales": card.scales,
        "weights": file_sha256(WEIGHTS_FOLDER / card.weights),
        "window_side": 128,
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    assert card.model_id("cpu") == f"{card.name}-{digest[:8]}"
    assert replace(card, scales=(1.0, 0.25)).model_id("cpu") != card.model_id("cpu")


def test_a_file_that_is_no_sidecar_is_an_error(tmp_path: Path) -> None:
    for content in ("[]", "{}", "no JSON"):
        (tmp_path / "other.json").write_text(content)
        with pytest.raises(DescriptorError, match=r"other\.json is no descriptor's sidecar"):
            load_card(str(tmp_path / "other.json"))


# --- what training starts from -----------------------------------------------------------------


def test_published_weights_become_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    published = models.mobilenet_v3_small(weights=None).state_dict()
    monkeypatch.setattr(
        "torchvision.models._api.load_state_dict_from_url", lambda *_, **__: published
    )
    network = initial_network(Recipe(), "imagenet")
    for name, value in network.features.state_dict().items():
        assert torch.equal(value, published[f"features.{name}"]), name


def test_papers_network_starts_from_the_features_of_the_shipped_descriptor() -> None:
    card = load_card()
    weights = str(card.folder / card.weights)
    shipped, network = (
        initial_network(recipe, weights).eval() for recipe in (Recipe(), RECIPES["idedupnet"])
    )
    images = torch.from_numpy(np.stack([np.asarray(scene(i)) for i in range(8)])).permute(
        0, 3, 1, 2
    )
    with torch.inference_mode():
        pooled = [n.pool(images) for n in (shipped, network)]
    # They see pixels in [0, 1], yet make the same of them, but for the edges.
    told_apart = [p - p.mean(0) for p in pooled]
    assert torch.nn.functional.cosine_similarity(*told_apart).min() > 0.95
    with pytest.raises(TrainingError, match="cannot start a resnet50"):
        initial_network(RECIPES["resnet50"], weights)


def test_published_features_of_the_papers_network_see_pixels_between_zero_and_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    published = models.mobilenet_v3_small(weights=None)
    monkeypatch.setattr(
        "torchvision.models._api.load_state_dict_from_url", lambda *_, **__: published.state_dict()
    )
    first = published.features[0].eval()
    network = initial_network(RECIPES["idedupnet"], "imagenet").eval()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    means, deviations = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    with torch.inference_mode():
        expected = first((images - means) / deviations)
        found = network.features[0](images / 255)
    torch.testing.assert_close(found[..., 1:, 1:], expected[..., 1:, 1:], atol=1e-4, rtol=1e-4)


def test_published_weights_that_cannot_be_had_are_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(TrainingError, match=r"resnet50 cannot be downloaded.*no network"):
        initial_network(RECIPES["resnet50"], "imagenet")
    with pytest.raises(TrainingError, match="publishes no weights of unet"):
        initial_network(RECIPES["unet"], "imagenet")


def test_each_published_network_fits_its_features() -> None:
    for name in ("resnet50", "densenet121"):
        architecture = ARCHITECTURES[name]
        whole = architecture.build(weights=None)
        part = architecture.part(whole)
        kept = {id(p) for p in part.parameters()}
        left = [n for n, p in whole.named_parameters() if id(p) not in kept]
        assert {n.split(".")[0] for n in left} <= {"fc", "classifier"}, name


# --- recipes -------------------------------------------------------------------------------------


def test_a_budget_in_time_or_steps_replaces_the_recipes() -> None:
    assert recipe_for("lenet") == RECIPES["lenet"]
    assert recipe_for("mobilenet_v3", minutes=20).steps == UNLIMITED
    by_cpu = recipe_for("lenet", cpu_seconds=60)
    assert (by_cpu.steps, by_cpu.minutes, by_cpu.cpu_seconds) == (UNLIMITED, None, 60)
    by_steps = recipe_for("lenet", steps=7)
    assert (by_steps.steps, by_steps.minutes) == (7, None)
    both = recipe_for("lenet", steps=7, minutes=2, side=48, images=9)
    assert (both.steps, both.minutes, both.sides, both.images) == (7, 2, (48,), 9)
    with pytest.raises(TrainingError, match=r"vgg.*mobilenet_v3"):
        recipe_for("vgg")


def test_compared_networks_have_the_same_budget() -> None:
    compared = [replace(RECIPES[n], architecture="") for n in ("resnet50", "densenet121", "lenet")]
    assert compared == [replace(RECIPES["unet"], architecture="")] * 3


def test_steps_that_fit_a_budget() -> None:
    recipe = Recipe(minutes=1, steps=UNLIMITED)
    assert recipe.steps_in(0.25) == 240
    assert replace(recipe, steps=50).steps_in(0.1) == 50
    assert replace(recipe, minutes=None, steps=50).steps_in(9.0) == 50
    assert [Recipe(sides=(32, 64)).side(step) for step in range(3)] == [32, 64, 32]


# --- the paper's pairs -------------------------------------------------------------------------


def test_pair_loss_is_that_of_its_formula() -> None:
    same, other = torch.tensor([1.0, 0.5]), torch.tensor([0.9, 0.1])
    distances = np.sqrt(2 - 2 * np.array([0.9, 0.1]))
    expected = np.mean([0.0, 1.0]) + np.mean(np.maximum(0, 1 - distances) ** 2)
    assert pair_loss(same, other).item() == pytest.approx(expected, rel=1e-5)


def test_best_threshold_makes_the_most_right_decisions() -> None:
    same, other = torch.tensor([0.99, 0.91, 0.88, 0.6]), torch.tensor([0.86, 0.72, 0.1, 0.2])
    threshold, accuracy = best_threshold(same, other)
    # 0.70 finds 3 of 4 copies and takes 2 others for copies; 0.75 to 0.85 one; 0.90 none.
    assert accuracy == pytest.approx(6 / 8)
    assert threshold == 0.9


def test_papers_views_are_those_of_the_generator_and_stay_close(tmp_path: Path) -> None:
    arrays = [np.asarray(p.resize((40, 40))).transpose(2, 0, 1) for p in scenes(5)]
    pixels, aspects = np.stack(arrays), np.full(5, 90 / 70)
    views = [augmented(pixels, aspects, 32, np.random.default_rng(s)) for s in (3, 3, 4)]
    assert views[0].shape == (5, 3, 32, 32)
    assert views[0].dtype == torch.uint8
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])
    # Mean colour survives the edges' repetition and 20 % of brightness.
    means = resized(pixels, 32).mean((2, 3))
    assert (views[0].float().mean((2, 3)) - means).abs().max() < 0.45 * means.max()


def test_papers_views_leave_an_unedited_photograph_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for constant in ("CROP", "ROTATION", "COLOUR"):
        monkeypatch.setattr(f"idedup_tasks.training.pairs.{constant}", 0.0)
    arrays = [np.asarray(p.resize((32, 32))).transpose(2, 0, 1) for p in scenes(8)]
    pixels = np.stack(arrays)
    views = augmented(pixels, np.full(8, 1.5), 32, np.random.default_rng(0)).numpy().astype(int)
    for view, photo in zip(views, pixels.astype(int), strict=True):
        flips = [photo, photo[:, ::-1], photo[:, :, ::-1], photo[:, ::-1, ::-1]]
        assert min(np.abs(view - f).max() for f in flips) <= 1


# --- LBID --------------------------------------------------------------------------------------


class Colours:
    """Describes an image by its mean colour."""

    model_id = "colours-00000000"

    def encode(self, images: list[Image.Image]) -> np.ndarray:
        means = np.array([np.asarray(i, np.float64).mean((0, 1)) for i in images], np.float32)
        return means / np.linalg.norm(means, axis=1, keepdims=True)


def test_lbid_gives_results_and_statistics() -> None:
    red, dark, green = ((250, 10, 10), (100, 30, 4), (10, 250, 10))
    dataset = [Image.new("RGB", (8, 8), c) for c in (green, dark, red, green)]
    query = Image.new("RGB", (8, 8), red)
    results, statistics = deduplicate(dataset, query, Colours(), 0.85, [False, True, True, True])
    assert [row for row, _ in results] == [2, 1]
    assert results[0][1] == pytest.approx(1)
    assert statistics["images"] == 4
    assert statistics["duplicates"] == 2
    assert statistics["accuracy"] == 0.75
    assert statistics["precision"] == 1
    assert statistics["recall"] == pytest.approx(2 / 3)
    nothing, statistics = deduplicate([], query, Colours())
    assert nothing == []
    assert statistics["duplicates"] == 0
