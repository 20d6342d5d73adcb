"""Training: views, loss, resuming, measures, calibration and registration."""

import itertools
import json
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from builders import save_scenes
from PIL import Image

torch = pytest.importorskip("torch")
from safetensors.torch import save_file  # noqa: E402

from idedup_tasks.benchmarks.edits import EDITS  # noqa: E402
from idedup_tasks.benchmarks.measures import grouping_quality  # noqa: E402
from idedup_tasks.descriptors import load_card, load_descriptor, load_quantiser  # noqa: E402
from idedup_tasks.descriptors.card import file_sha256  # noqa: E402
from idedup_tasks.descriptors.network import apart_from  # noqa: E402
from idedup_tasks.descriptors.torch_runtime import load_card_network  # noqa: E402
from idedup_tasks.training import (  # noqa: E402
    RECIPES,
    Recipe,
    TrainingError,
    batches,
    learn,
    recipes,
    ship,
    train,
)
from idedup_tasks.training import augment as augment_module  # noqa: E402
from idedup_tasks.training.augment import augment, window_transforms  # noqa: E402
from idedup_tasks.training.calibrate import KINDS, as_unknown  # noqa: E402
from idedup_tasks.training.checkpoint import restore, save  # noqa: E402
from idedup_tasks.training.copies import make_copies  # noqa: E402
from idedup_tasks.training.learner import Learner  # noqa: E402
from idedup_tasks.training.measure import pair_curve  # noqa: E402
from idedup_tasks.training.objectives import contrastive_loss  # noqa: E402
from idedup_tasks.training.photos import cache_photos, is_set_aside, photo_files  # noqa: E402
from idedup_tasks.training.quantiser import train_quantiser  # noqa: E402
from idedup_tasks.training.start import initial_network  # noqa: E402
from idedup_tasks.training.whiten import discriminant_projection, refit_head  # noqa: E402

pytestmark = pytest.mark.training

TINY = Recipe(steps=4, images=4, sides=(32,), learning_rate=1e-4, input_sides=(96, 128))


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Enough pictures to set a hundred aside."""
    return save_scenes(tmp_path_factory.mktemp("photos"), 750)


def test_photographs_set_aside_are_chosen_by_name_alone(many, tmp_path):
    files = photo_files(many)
    aside = [f for f in files if is_set_aside(f)]
    assert aside == [f for f in files if zlib.crc32(f.name.encode()) % 6 == 0]
    assert all(is_set_aside(tmp_path / f.name) for f in aside)


def test_cache_holds_the_decoded_photographs_and_is_reused(tmp_path):
    files = photo_files(save_scenes(tmp_path, 5))
    first = cache_photos(files, tmp_path / "cache")
    made = {f: f.stat().st_mtime_ns for f in (tmp_path / "cache").iterdir()}
    second = cache_photos(files, tmp_path / "cache")
    assert made == {f: f.stat().st_mtime_ns for f in (tmp_path / "cache").iterdir()}
    np.testing.assert_array_equal(first.pixels, second.pixels)
    with Image.open(files[3]) as image:
        assert second.aspects[3] == pytest.approx(image.width / image.height)
        small = np.asarray(image.convert("RGB").resize(first.pixels.shape[2:], 3))
    np.testing.assert_array_equal(second.pixels[3], small.transpose(2, 0, 1))


def test_a_folder_without_photographs_is_an_error(tmp_path):
    with pytest.raises(TrainingError, match="no photographs"):
        photo_files(tmp_path)


def test_a_strong_view_may_be_cropped_only_or_compressed_only(tmp_path, monkeypatch):
    cache = cache_photos(photo_files(save_scenes(tmp_path, 12)), tmp_path / "cache")
    pixels, rng = np.array(cache.pixels), np.random.default_rng(0)
    whole = augment(pixels, cache.aspects, 192, False, rng).float()
    monkeypatch.setattr(augment_module, "CROPPED_ONLY", 0.0)
    monkeypatch.setattr(augment_module, "COMPRESSED_ONLY", 1.0)
    tiny = augment(pixels, cache.aspects, 192, True, rng).float()
    # The same picture at the same place, coarser.
    original = torch.from_numpy(pixels).float()
    centred = [x - x.mean((1, 2, 3), keepdim=True) for x in (original, tiny)]
    alike = torch.nn.functional.cosine_similarity(*(x.flatten(1) for x in centred))
    assert alike.min() > 0.6
    assert not torch.equal(tiny, whole)
    monkeypatch.setattr(augment_module, "CROPPED_ONLY", 1.0)
    crops = augment(pixels, cache.aspects, 192, True, rng).float()
    low, high = crops.amin((2, 3)), crops.amax((2, 3))
    slack = 25  # JPEG
    assert (low >= original.amin((2, 3)) - slack).all()
    assert (high <= original.amax((2, 3)) + slack).all()
    maps, spans = augment_module.crop_windows(500, rng)
    corners = np.array([[x, y, 1] for x in (-1, 1) for y in (-1, 1)]).T
    assert np.abs(maps @ corners).max() <= 1 + 1e-5
    assert 0.13 <= (spans**2).min() < 0.2
    assert 0.9 < (spans**2).max() <= 1


@pytest.mark.parametrize("strong", [False, True])
def test_views_are_a_function_of_the_generator(tmp_path, strong):
    cache = cache_photos(photo_files(save_scenes(tmp_path, 6)), tmp_path / "cache")
    pixels = np.array(cache.pixels)
    views = [
        augment(pixels, cache.aspects, 48, strong, np.random.default_rng(seed))
        for seed in (3, 3, 4)
    ]
    assert views[0].shape == (6, 3, 48, 48)
    assert views[0].dtype == torch.uint8
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])
    np.testing.assert_array_equal(pixels, cache.pixels)


def test_mild_windows_stay_within_the_photograph():
    maps, _ = window_transforms(np.full(500, 1.5), False, np.random.default_rng(0))
    corners = np.array([[x, y, 1] for x in (-1, 1) for y in (-1, 1)]).T
    assert np.abs(maps @ corners).max() <= 1 + 1e-5


def test_loss_is_that_of_its_formula():
    rng = np.random.default_rng(0)
    vectors = torch.nn.functional.normalize(torch.from_numpy(rng.standard_normal((6, 5))))
    photos = torch.tensor([0, 1, 2, 0, 1, 2])
    loss, _ = contrastive_loss(vectors, photos, TINY)
    cosines = (vectors @ vectors.T).numpy()
    info, koleo = [], []
    for i in range(6):
        others = [j for j in range(6) if photos[j] != photos[i]]
        (positive,) = [j for j in range(6) if photos[j] == photos[i] and j != i]
        terms = np.exp(cosines[i, [positive, *others]] / TINY.temperature)
        info.append(-np.log(terms[0] / terms.sum()))
        koleo.append(-np.log(np.sqrt(2 - 2 * cosines[i, others].max())))
    assert loss.item() == pytest.approx(np.mean(info) + TINY.koleo * np.mean(koleo), rel=1e-4)


def test_accuracy_is_one_for_views_that_coincide():
    vectors = torch.eye(4).repeat(2, 1)
    _, accuracy = contrastive_loss(vectors, torch.arange(4).repeat(2), TINY)
    assert accuracy.item() == 1


def same_weights(one: Learner, other: Learner) -> None:
    for (name, expected), found in zip(
        one.averaged.state_dict().items(), other.averaged.state_dict().values(), strict=True
    ):
        assert torch.equal(expected, found), name


@pytest.mark.parametrize("network", RECIPES)
def test_each_network_learns_and_its_checkpoint_is_its_own(tmp_path, network):
    cache = cache_photos(photo_files(save_scenes(tmp_path, 8)), tmp_path / "cache")
    recipe = replace(RECIPES[network], steps=2, minutes=None, epochs=0, images=4, sides=(32,))
    before = initial_network(recipe, None).state_dict()
    learner = learn.learn(cache, cache, recipe, tmp_path / "c.safetensors")
    after = learner.averaged.state_dict()
    assert all(torch.isfinite(value).all() for value in after.values())
    moved = [name for name, value in after.items() if not torch.equal(value, before[name])]
    assert {name.split(".")[0] for name in moved} == {"features", "head"}
    assert len(learner.curves.loss) == 1
    assert 0 <= learner.curves.validation_accuracy[0] <= 1
    assert bool(learner.curves.threshold) == (recipe.objective == "pairs")
    other = "lenet" if network != "lenet" else "mobilenet_v3"
    with pytest.raises(TrainingError, match="no checkpoint of a"):
        restore(Learner(RECIPES[other], None), tmp_path / "c.safetensors")


def test_the_papers_network_learns_by_the_papers_recipe(tmp_path):
    # Where cosines are taken of the softmax itself, every code becomes the same within these
    # steps: loss 1, and half of the decisions right.
    cache = cache_photos(photo_files(save_scenes(tmp_path, 16)), tmp_path / "cache")
    recipe = replace(RECIPES["idedupnet"], steps=25, epochs=0, images=16, sides=(64,))
    assert recipe.learning_rate == 0.001
    shipped = load_card()
    found = []
    learn.learn(
        *(cache, cache, recipe, tmp_path / "c.safetensors", str(shipped.folder / shipped.weights)),
        progress=lambda step, loss, accuracy: found.append((loss, accuracy)),
    )
    loss, accuracy = np.mean(found[-8:], axis=0)
    assert loss < 0.7
    assert accuracy > 0.65


def test_dropout_is_repeated_when_a_run_continues(tmp_path):
    cache = cache_photos(photo_files(save_scenes(tmp_path, 8)), tmp_path / "cache")
    pairs = replace(RECIPES["idedupnet"], steps=3, images=4, sides=(32,))
    whole = learn.learn(cache, cache, pairs, tmp_path / "whole.safetensors")
    learner = Learner(pairs, None)
    views, ids, _ = batches.ViewBatches(cache, pairs, 0, 1)[0]
    learner.learn(views, ids)
    save(learner, tmp_path / "parts.safetensors")
    torch.rand(7)
    same_weights(whole, learn.learn(cache, cache, pairs, tmp_path / "parts.safetensors"))


KILLED = """
import sys, time
from pathlib import Path
sys.path[:] = {path!r}
from idedup_tasks.training import learn, learner, photos
from test_training import TINY
from dataclasses import replace
folder = Path({folder!r})
learn.CHECKPOINT_STEPS, learner.MINING_STEPS = 2, 3
cache = photos.cache_photos(photos.photo_files(folder), folder / "cache")
def progress(step, loss, accuracy):
    if step == 5:
        print("five", flush=True)
        time.sleep(600)
learn.learn(cache, cache, replace(TINY, steps=8), folder / "killed.safetensors", None, progress)
"""


def test_a_killed_run_continues_to_the_same_weights_and_curves(tmp_path, monkeypatch):
    monkeypatch.setattr("idedup_tasks.training.learner.MINING_STEPS", 3)
    cache = cache_photos(photo_files(save_scenes(tmp_path, 12)), tmp_path / "cache")
    code = KILLED.format(path=sys.path, folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "five\n"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    checkpoint = tmp_path / "killed.safetensors"
    # What a kill in the middle of the next one would leave beside it.
    checkpoint.with_suffix(".part").write_bytes(b"half")
    recipe = replace(TINY, steps=8)
    resumed = Learner(recipe, None)
    restore(resumed, checkpoint)
    assert resumed.step == 4
    assert resumed.neighbours.shape == (12, batches.NEIGHBOURS)
    whole = learn.learn(cache, cache, recipe, tmp_path / "whole.safetensors")
    parts = learn.learn(cache, cache, recipe, checkpoint)
    same_weights(whole, parts)
    assert parts.curves == whole.curves
    assert len(whole.curves.epoch) == 3


def test_half_of_a_batch_are_neighbours_of_the_other_half():
    recipe = replace(TINY, images=8)
    # Photograph i is like i + 20, i + 21 and i + 22 of 60.
    near = (np.arange(60)[:, None] + [20, 21, 22]) % 60
    seen: list[int] = []
    for step in range(15):
        rows = batches.batch_rows(60, recipe, step, near)
        assert len(set(rows)) == 8
        np.testing.assert_array_equal(rows, batches.batch_rows(60, recipe, step, near))
        seen += list(rows[:4])
        likes = set(near[rows[:4]].ravel())
        assert all(row in likes for row in rows[4:])
    assert sorted(seen) == list(range(60))
    # Without any that may be used, the batch is full all the same.
    none = np.full((60, 3), -1)
    assert len(set(batches.batch_rows(60, recipe, 0, none))) == 8
    assert len(set(batches.batch_rows(8, recipe, 0, none[:8]))) == 8


def test_neighbours_are_the_nearest_that_are_not_the_same_picture(tmp_path):
    cache = cache_photos(photo_files(save_scenes(tmp_path, 30)), tmp_path / "cache")
    angles = np.sort(np.random.default_rng(1).uniform(0, 6, 30))
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    given = iter(np.array_split(vectors, 1))
    network = lambda views: torch.from_numpy(next(given))  # noqa: E731
    found = batches.nearest_photographs(network, cache, TINY)
    cosines = vectors @ vectors.T
    for row in range(30):
        allowed = [j for j in np.argsort(-cosines[row]) if cosines[row, j] <= batches.SAME_PICTURE]
        kept = [j for j in found[row] if j >= 0]
        assert row not in kept
        assert kept == allowed[: batches.NEIGHBOURS]


def test_of_many_photographs_only_some_are_mined(tmp_path, monkeypatch):
    cache = cache_photos(photo_files(save_scenes(tmp_path, 30)), tmp_path / "cache")
    monkeypatch.setattr(batches, "MINED_PHOTOS", 10)
    network = lambda views: torch.nn.functional.normalize(views.float().mean((2, 3)) - 127)  # noqa: E731
    found = batches.nearest_photographs(network, cache, TINY)
    mined = np.flatnonzero((found >= 0).any(1))
    assert 0 < len(mined) <= 10
    assert set(found[found >= 0]) <= set(mined)


def test_a_damaged_checkpoint_is_an_error(tmp_path):
    (tmp_path / "c.safetensors").write_bytes(b"half")
    with pytest.raises(TrainingError, match="another output folder"):
        restore(Learner(TINY, None), tmp_path / "c.safetensors")


def test_a_time_budget_fixes_the_steps_once(tmp_path, monkeypatch):
    cache = cache_photos(photo_files(save_scenes(tmp_path, 8)), tmp_path / "cache")
    monkeypatch.setattr(learn, "MEASURED_STEPS", 4)
    monkeypatch.setattr(recipes, "MEASURED_STEPS", 4)
    monkeypatch.setattr(learn, "UNMEASURED_STEPS", 1)
    seconds = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: float(next(seconds)), process_time=time.process_time)
    monkeypatch.setattr(learn, "time", clock)
    # A second by the clock each step: nine fit.
    recipe = replace(TINY, steps=recipes.UNLIMITED, minutes=9 / 60)
    planned: list[int] = []
    checkpoint = tmp_path / "c.safetensors"
    learner = learn.learn(cache, cache, recipe, checkpoint, None, None, planned.append)
    assert (learner.step, planned) == (9, [9])
    assert learner.recipe.rate(8) < recipe.learning_rate / 2
    # Slower now, but what was fixed holds; more minutes are more steps at the same pace.
    monkeypatch.setattr(clock, "monotonic", lambda: 1000.0 * next(seconds))
    again = learn.learn(cache, cache, recipe, checkpoint)
    assert (again.step, again.seconds) == (9, 1.0)
    longer = learn.learn(cache, cache, replace(recipe, minutes=11 / 60), checkpoint)
    assert longer.step == 11


def test_a_budget_of_cpu_seconds_is_spent_once_though_the_run_is_stopped(tmp_path, monkeypatch):
    cache = cache_photos(photo_files(save_scenes(tmp_path, 8)), tmp_path / "cache")
    monkeypatch.setattr(learn, "CHECKPOINT_STEPS", 2)
    calls = itertools.count()
    clock = SimpleNamespace(monotonic=time.monotonic, process_time=lambda: float(next(calls)))
    monkeypatch.setattr(learn, "time", clock)
    monkeypatch.setattr(batches, "time", clock)
    # By this clock a step takes a second, and its views another in the worker.
    recipe = replace(TINY, steps=recipes.UNLIMITED, cpu_seconds=11)
    whole = learn.learn(cache, cache, recipe, tmp_path / "whole.safetensors")
    assert (whole.step, whole.spent) == (6, 12.0)
    assert recipe.rate(200, 8) == recipe.learning_rate > recipe.rate(200, 10) > 0
    assert whole.curves.epoch == [1, 2, 3]

    def stop(step: int, loss: float, accuracy: float) -> None:
        if step == 3:
            raise KeyboardInterrupt

    checkpoint = tmp_path / "parts.safetensors"
    with pytest.raises(KeyboardInterrupt):
        learn.learn(cache, cache, recipe, checkpoint, progress=stop)
    # The third step is made again, and its time counts once.
    parts = learn.learn(cache, cache, recipe, checkpoint)
    assert (parts.step, parts.spent) == (6, 12.0)
    same_weights(whole, parts)
    assert learn.learn(cache, cache, recipe, checkpoint).step == 6


def test_learning_stops_when_validation_no_longer_improves(tmp_path, monkeypatch):
    cache = cache_photos(photo_files(save_scenes(tmp_path, 4)), tmp_path / "cache")
    accuracies = iter([0.5, 0.7, 0.6, 0.7, 0.9])
    monkeypatch.setattr(Learner, "validate", lambda *_: (next(accuracies), None))
    recipe = replace(TINY, steps=recipes.UNLIMITED, epochs=50, patience=2)
    learner = learn.learn(cache, cache, recipe, tmp_path / "c.safetensors")
    assert learner.curves.validation_accuracy == [0.5, 0.7, 0.6, 0.7]
    assert learn.learn(cache, cache, recipe, tmp_path / "c.safetensors").step == 4


def test_no_steps_leave_the_weights_as_they_were(tmp_path):
    cache = cache_photos(photo_files(save_scenes(tmp_path, 4)), tmp_path / "cache")
    recipe = replace(TINY, steps=0)
    learner = learn.learn(cache, cache, recipe, tmp_path / "c.safetensors")
    assert learner.step == 0
    assert learner.curves.epoch == []
    same_weights(learner, Learner(recipe, None))


def test_a_stopped_run_continues_to_the_same_weights(tmp_path, monkeypatch):
    files = photo_files(save_scenes(tmp_path, 12))
    cache = cache_photos(files, tmp_path / "cache")
    monkeypatch.setattr(learn, "CHECKPOINT_STEPS", 2)
    whole = learn.learn(cache, cache, TINY, tmp_path / "whole.safetensors")

    class StoppedError(Exception):
        pass

    def stop(step: int, loss: float, accuracy: float) -> None:
        if step == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        learn.learn(cache, cache, TINY, tmp_path / "parts.safetensors", progress=stop)
    parts = learn.learn(cache, cache, TINY, tmp_path / "parts.safetensors")
    assert parts.step == whole.step == 4
    same_weights(whole, parts)


def test_fewer_photographs_than_a_batch_are_an_error(tmp_path):
    cache = cache_photos(photo_files(save_scenes(tmp_path, 3)), tmp_path / "cache")
    with pytest.raises(TrainingError, match="fewer than a batch of 4"):
        learn.learn(cache, cache, TINY, tmp_path / "c.safetensors")


def test_weights_that_do_not_fit_are_an_error():
    shipped = load_card()
    with pytest.raises(TrainingError, match="128 dimensions"):
        initial_network(replace(TINY, dim=128), str(shipped.folder / shipped.weights))


def test_pair_curve_agrees_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    scores = rng.random((40, 30)).round(2)
    truth = rng.integers(0, 30, 40)
    scores[np.arange(40), truth] = (scores[np.arange(40), truth] + 0.4).round(2)
    curve = pair_curve(scores, truth)
    labels = np.zeros(scores.shape, int)
    labels[np.arange(40), truth] = 1
    expected = metrics.average_precision_score(labels.ravel(), scores.ravel())
    assert curve.average_precision() == pytest.approx(expected)
    for threshold in (0.55, 0.705, 0.9):
        found = scores >= threshold
        right = (found & (labels == 1)).sum()
        assert curve.at_threshold(threshold) == pytest.approx(
            (right / max(found.sum(), 1), right / 40)
        )


def test_threshold_at_precision_is_the_lowest_that_has_it():
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.85]])
    curve = pair_curve(scores, np.array([0, 1, 0]))
    assert curve.at_precision(0.99) == (pytest.approx(1 / 3), 0.9)
    assert curve.at_precision(0.6) == (pytest.approx(1.0), 0.3)
    assert pair_curve(np.array([[0.1, 0.5]]), np.array([0])).at_precision(0.99) == (0, np.inf)


def test_grouping_quality_counts_pairs():
    rng = np.random.default_rng(0)
    labels, truth = rng.integers(0, 6, 40), rng.integers(0, 6, 40)
    pairs = list(itertools.combinations(range(40), 2))
    found = {(a, b) for a, b in pairs if labels[a] == labels[b]}
    wanted = {(a, b) for a, b in pairs if truth[a] == truth[b]}
    right = len(found & wanted)
    expected = (right / len(found), right / len(wanted), 2 * right / (len(found) + len(wanted)))
    assert grouping_quality(labels, truth) == pytest.approx(expected)


def test_every_edit_makes_another_rgb_image_and_repeats(tmp_path):
    image, other = (Image.open(f).convert("RGB") for f in photo_files(save_scenes(tmp_path, 2)))
    for kind, edit in EDITS.items():
        first, second = (edit(image, np.random.default_rng(5), lambda: other) for _ in range(2))
        assert first.mode == "RGB", kind
        assert first.tobytes() == second.tobytes(), kind
        assert (first.size, first.tobytes()) != (image.size, image.tobytes()), kind


def test_copies_use_every_edit_equally_often(many):
    copies = make_copies(photo_files(many)[:66])
    _, counts = np.unique(copies.kinds, return_counts=True)
    assert len(counts) == len(EDITS)
    assert set(counts) == {10}
    assert np.bincount(copies.truth).tolist() == [5] * 66


def test_unknown_kinds_are_seen_through_a_background_without_them(many):
    card, photos = load_card(), make_copies(photo_files(many)[:7])
    copies, originals = as_unknown(card, photos)
    network = load_card_network(card)
    background, network.background = network.background, None
    side = (card.input_size, card.input_size)
    pixels = [np.asarray(i.resize(side, Image.Resampling.BICUBIC)) for i in photos.originals]
    with torch.inference_mode():
        plain = network(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2))
    centres = torch.from_numpy(train_quantiser(background.numpy(), KINDS)).float()
    known, kinds = (background @ centres.T).argmax(1), (plain @ centres.T).argmax(1)
    for row, kind in enumerate(kinds):
        others = background[known != kind]
        assert 0 < len(others) < len(background)
        expected = apart_from(others, plain[row : row + 1])[0]
        np.testing.assert_allclose(originals[row], expected, atol=1e-4)
    encoded = load_descriptor(device="cpu").encode(photos.copies)
    assert copies.shape == encoded.shape
    assert np.abs(copies - encoded).max() > 1e-3
    np.testing.assert_allclose(np.linalg.norm(copies, axis=1), 1, atol=1e-5)


def test_without_a_background_there_are_no_unknown_kinds(many, tmp_path):
    card = replace(load_card(), folder=tmp_path)
    network = load_card_network(load_card())
    del network.background
    network.register_buffer("background", None)
    save_file(network.state_dict(), tmp_path / card.weights)
    card = replace(card, weights_sha256=file_sha256(tmp_path / card.weights))
    assert as_unknown(card, make_copies(photo_files(many)[:3])) is None


def test_quantiser_finds_separate_clusters():
    rng = np.random.default_rng(0)
    centres = np.eye(8, dtype=np.float32)
    vectors = np.repeat(centres, 20, 0) + 0.01 * rng.standard_normal((160, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    centroids = train_quantiser(vectors, 8).astype(np.float32)
    assert centroids.shape == (8, 8)
    assert (vectors @ centroids.T).max(1).min() > 0.6
    assert train_quantiser(vectors[:12], 8).shape == (3, 8)


def test_refitted_head_ignores_the_directions_that_edits_move_along(monkeypatch):
    # These directions differ far more than features do, and there are few of them.
    monkeypatch.setattr("idedup_tasks.training.whiten.SHRINKAGE", 0.05)
    rng = np.random.default_rng(0)
    photographs = rng.standard_normal((400, 1, 6)) * [1, 1, 1, 1, 0.1, 0.1]
    edits = rng.standard_normal((400, 4, 6)) * [0.1, 0.1, 3, 3, 0.1, 0.1]
    views = photographs + edits + 5
    weight, bias = discriminant_projection(views, 2)
    assert weight.shape == (2, 6)
    assert bias.shape == (2,)
    projected = views @ weight.T + bias
    np.testing.assert_allclose(projected.mean((0, 1)), 0, atol=1e-9)
    kept = np.abs(weight).sum(0)
    assert kept[:2].min() > 10 * kept[2:4].max()
    # Views of one photograph end up closer together than photographs are.
    assert projected.std(1).mean() < 0.2 * projected.mean(1).std(0).mean()
    # Fewer features than wanted: the rest of the rows are zero.
    wide, _ = discriminant_projection(views, 8)
    assert wide.shape == (8, 6)
    assert not wide[6:].any()
    assert wide[:6].any(1).all()


def test_features_that_say_nothing_leave_the_learnt_head(tmp_path):
    cache = cache_photos(photo_files(save_scenes(tmp_path, 16)), tmp_path / "cache")
    network = initial_network(replace(TINY, dim=4), None).eval()
    network.pool = lambda images: torch.ones(len(images), 576)
    before = network.head.weight.clone()
    refit_head(network, cache, 32, 0)
    assert torch.equal(network.head.weight, before)


def test_training_gives_a_calibrated_descriptor_that_registers_only_if_better(many, tmp_path):
    said: list[str] = []
    sidecar = train(many, tmp_path / "out", "mobilenet_v3", TINY, say=said.append)
    descriptor = load_descriptor(str(sidecar), "cpu")
    card = load_card(str(sidecar))
    assert card.input_size in (96, 128)
    assert 0 < card.thresholds.pair < 1
    assert card.thresholds.phash_distance >= 0
    assert card.figures["calibration"]["pairs"]["micro_ap"] > 0.5
    assert card.figures["calibration"]["pairs_of_unknown_kinds"]["micro_ap"] > 0.5
    assert load_quantiser(str(sidecar)).shape[1] == descriptor.dim
    curves = json.loads((tmp_path / "out" / "training.json").read_text())
    assert len(curves["loss"]) == len(curves["epoch"]) > 0
    assert (tmp_path / "out" / "training.png").stat().st_size > 0
    place = tmp_path / "registered"
    place.mkdir()
    assert ship(sidecar, many, place)
    assert load_descriptor(str(place / sidecar.name), "cpu").model_id == descriptor.model_id
    assert not ship(sidecar, many, place)


def test_too_few_photographs_to_calibrate_with_are_an_error(tmp_path):
    with pytest.raises(TrainingError, match="to calibrate with"):
        train(save_scenes(tmp_path, 30), tmp_path / "out", recipe=TINY)
