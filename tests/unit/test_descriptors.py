"""The descriptor: interface, weights that are what they say, runtimes that agree."""

import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import scenes
from PIL import Image

from idedup_tasks.descriptors import (
    DescriptorError,
    descriptor_info,
    load_card,
    load_descriptor,
    load_quantiser,
)
from idedup_tasks.descriptors.card import file_sha256, resolve_device
from idedup_tasks.descriptors.named import WEIGHTS_FOLDER

PHOTOS = Path(__file__).resolve().parents[2].parent / "shared" / "photos" / "train"

# Of scikit-image, no two of one thing.
UNLIKE = (
    *("astronaut.png", "camera.png", "chelsea.png", "clock_motion.png", "coffee.png", "coins.png"),
    *("grass.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png"),
    *("page.png", "retina.jpg", "rocket.jpg"),
)


@pytest.fixture(scope="module")
def descriptor():
    return load_descriptor(device="cpu")


@pytest.fixture
def copied_weights(tmp_path):
    """The shipped descriptor in a folder of its own, to be damaged."""
    for file in WEIGHTS_FOLDER.glob("mobilenet_v3*"):
        shutil.copy(file, tmp_path)
    return tmp_path / "mobilenet_v3.json"


def test_info_is_known_without_a_network_library():
    code = (
        "import sys; from idedup_tasks.descriptors import descriptor_info;"
        "print(descriptor_info(device='cpu').model_id);"
        "sys.exit(any(m in sys.modules for m in ('torch', 'openvino', 'safetensors')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == descriptor_info(device="cpu").model_id


def test_a_signal_is_handled_after_descriptors_have_gone():
    code = (
        "import gc, os, signal; from idedup_tasks.descriptors import load_descriptor;"
        "signal.signal(signal.SIGCHLD, lambda *_: print('handled'));"
        # The second is there before the first one goes.
        "one = load_descriptor(device='cpu'); one = load_descriptor(device='cpu');"
        "del one; gc.collect();"
        "os.kill(os.getpid(), signal.SIGCHLD)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_info_agrees_with_the_loaded_descriptor(descriptor):
    model_id, dim, thresholds = descriptor_info(device="cpu")
    assert (descriptor.model_id, descriptor.dim, descriptor.thresholds) == (
        model_id,
        dim,
        thresholds,
    )
    assert model_id.startswith("mobilenet_v3-")
    assert len(model_id) == len("mobilenet_v3-") + 8


def test_model_id_covers_weights_preprocessing_runtime_and_precision():
    card = load_card()
    others = [
        replace(card, weights_sha256="0" * 64).model_id("cpu"),
        replace(card, input_size=card.input_size + 32).model_id("cpu"),
        replace(card, gem_p=2.0).model_id("cpu"),
        replace(card, inner=0).model_id("cpu"),
        card.model_id("cuda"),
        card.model_id("reference"),
    ]
    assert len({card.model_id("cpu"), *others}) == 7
    # Thresholds decide about vectors; they do not make other vectors.
    moved = replace(card, thresholds=replace(card.thresholds, pair=0.123))
    assert moved.model_id("cpu") == card.model_id("cpu")


def test_vectors_are_unit_float32_in_order(descriptor):
    images = scenes(5)
    vectors = descriptor.encode(images)
    assert vectors.shape == (5, descriptor.dim)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(descriptor.encode(images[::-1])[::-1], vectors)


def test_no_images_give_no_vectors(descriptor):
    assert descriptor.encode([]).shape == (0, descriptor.dim)


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_a_vector_does_not_depend_on_its_neighbours(device):
    descriptor = load_descriptor(device=device)
    images = scenes(67)
    together = descriptor.encode(images)
    for row in (0, 31, 63, 66):
        np.testing.assert_array_equal(descriptor.encode([images[row]])[0], together[row])


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_regions_do_not_depend_on_neighbours_and_runtimes_agree(descriptor, device):
    images = scenes(5)
    vectors, regions = load_descriptor(device=device).encode_with_regions(images)
    assert (regions.dtype, regions.shape) == (np.int8, (5, 11, descriptor.dim))
    np.testing.assert_array_equal(vectors, load_descriptor(device=device).encode(images))
    alone = descriptor.encode_with_regions(images[2:3])[1][0].astype(int)
    assert abs(alone - regions[2]).max() <= 1
    if device == "cpu":
        np.testing.assert_array_equal(alone, regions[2])


def test_the_region_where_another_image_lies_is_nearest_to_it(descriptor):
    photographs = stored_photographs(24)
    sheets = [Image.new("RGB", (400, 400), "white") for _ in photographs]
    for sheet, photograph in zip(sheets, photographs, strict=True):
        sheet.paste(photograph.resize((200, 200)), (0, 200))
    vectors = descriptor.encode(photographs)
    _, regions = descriptor.encode_with_regions(sheets)
    near = np.einsum("rpd,rd->rp", regions / 127, vectors)
    assert (near[:, :9].argmax(1) == 6).mean() > 0.7
    assert near[:, :9].mean(0).argmax() == 6
    # And the picture that was found in it still nearer.
    assert near[:, 9:].max(1).mean() > near[:, :9].max(1).mean() + 0.2


def test_a_picture_that_is_not_there_resembles_nothing(descriptor):
    plain = Image.new("RGB", (256, 256), (200, 30, 30))
    soft = Image.radial_gradient("L").convert("RGB")
    _, regions = descriptor.encode_with_regions([soft, plain])
    assert not regions[0, 9:].any()
    assert regions[0, :9].any(axis=1).all()


def test_arrays_and_other_modes_are_encoded_as_their_rgb_pixels(descriptor):
    rgb = scenes(1)[0]
    expected = descriptor.encode([rgb])
    side = descriptor.input_size
    resized = np.asarray(rgb.resize((side, side), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(descriptor.encode([np.asarray(rgb)]), expected)
    np.testing.assert_array_equal(descriptor.encode([resized]), expected)
    grey = rgb.convert("L")
    np.testing.assert_array_equal(
        descriptor.encode([grey]), descriptor.encode([grey.convert("RGB")])
    )


@pytest.mark.parametrize(
    "image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3), np.float32), "a.jpg"]
)
def test_what_is_no_image_is_refused(descriptor, image):
    with pytest.raises(DescriptorError, match="no image to encode"):
        descriptor.encode([image])


def test_cpu_runtime_agrees_with_the_reference(descriptor):
    images = scenes(40) + stored_photographs(40)
    cosines = (descriptor.encode(images) * load_descriptor(device="reference").encode(images)).sum(
        1
    )
    assert cosines.min() >= 0.999


def test_cuda_runtime_agrees_with_the_reference():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    images = scenes(70)
    on_gpu = load_descriptor(device="cuda")
    vectors = on_gpu.encode(images)
    cosines = (vectors * load_descriptor(device="reference").encode(images)).sum(1)
    assert cosines.min() >= 0.999
    np.testing.assert_array_equal(on_gpu.encode(images[-1:])[0], vectors[-1])


def test_auto_is_cuda_where_there_are_a_gpu_and_pytorch(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(Path, "glob", lambda *_: iter([Path("0000:01:00.0")]))
    assert resolve_device("auto") == "cuda"
    monkeypatch.setitem(sys.modules, "torch", None)
    assert resolve_device("auto") == "cpu"


def test_cuda_without_a_device_is_an_error_not_a_fallback(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DescriptorError, match="cuda"):
        load_descriptor(device="cuda")


def stored_photographs(n: int) -> list[Image.Image]:
    """Photographs where the checkout has them beside it, else those that scikit-image ships.

    Generated pictures are all of one style, and no stand-in for photographs.
    """
    files = sorted(PHOTOS.glob("*.jpg"))[:: max(1, 12000 // n)][:n] if PHOTOS.is_dir() else []
    if not files:
        found = importlib.util.find_spec("skimage")
        assert found is not None
        assert found.origin is not None
        files = [Path(found.origin).parent / "data" / name for name in UNLIKE]
    return [Image.open(f).convert("RGB") for f in files]


def test_copies_are_pairs_and_unrelated_images_are_not(descriptor):
    images = stored_photographs(60)
    vectors = descriptor.encode(images)
    copies = []
    for image in images:
        buffer = io.BytesIO()
        image.resize((image.width // 2, image.height // 2)).save(buffer, "JPEG", quality=40)
        copies.append(Image.open(buffer))
    cosines = descriptor.encode(copies) @ vectors.T
    own = np.diag(cosines).copy()
    np.fill_diagonal(cosines, -1)
    pair = descriptor.thresholds.pair
    assert (own >= pair).mean() >= 0.95
    assert (own > cosines.max(1)).mean() >= 0.95
    assert (cosines >= pair).mean() < 0.001


def test_thresholds_are_similarities_that_divide_something():
    thresholds = descriptor_info().thresholds
    for similarity in (thresholds.pair, thresholds.candidate, thresholds.cut):
        assert 0 < similarity < 1
    assert 0 <= thresholds.phash_distance < 20


def test_quantiser_is_of_these_weights():
    centroids = load_quantiser()
    assert centroids.dtype == np.float32
    assert centroids.shape == (2048, descriptor_info().dim)
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("damage", ["missing", "other"])
@pytest.mark.parametrize(
    ("suffix", "device"), [(".safetensors", "reference"), (".xml", "cpu"), (".bin", "cpu")]
)
def test_weights_missing_or_other_than_recorded_are_an_error(
    copied_weights, suffix, device, damage
):
    weights = copied_weights.with_suffix(suffix)
    if damage == "missing":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(DescriptorError, match=weights.name):
        load_descriptor(str(copied_weights), device)


def test_the_converted_network_is_of_these_weights(descriptor, copied_weights):
    pytest.importorskip("torch")
    from idedup_tasks.descriptors.conversion import convert

    shipped = load_card(str(copied_weights))
    converted = convert(shipped)
    assert converted.converted.keys() == shipped.converted.keys()
    again = load_descriptor(str(converted.write()), "cpu")
    images = stored_photographs(5)
    np.testing.assert_array_equal(again.encode(images), descriptor.encode(images))
    assert again.model_id == descriptor.model_id


def test_a_descriptor_that_was_never_converted_says_what_does_it(copied_weights):
    content = json.loads(copied_weights.read_text())
    del content["converted"]
    copied_weights.write_text(json.dumps(content))
    with pytest.raises(DescriptorError, match=r"no converted network.*`idedup train`"):
        load_descriptor(str(copied_weights), "cpu")


def test_a_network_that_openvino_cannot_read_is_named_with_the_versions_that_can(copied_weights):
    network = copied_weights.with_suffix(".xml")
    network.write_text(network.read_text().replace('version="opset4"', 'version="opset99"'))
    content = json.loads(copied_weights.read_text())
    content["converted"][network.name] = file_sha256(network)
    copied_weights.write_text(json.dumps(content))
    with pytest.raises(
        DescriptorError, match=r"mobilenet_v3\.xml cannot be read.*2025\.0"
    ) as found:
        load_descriptor(str(copied_weights), "cpu")
    assert "\n" not in str(found.value)


def test_quantiser_of_other_weights_is_an_error(copied_weights):
    content = json.loads(copied_weights.read_text())
    content["quantiser_sha256"] = "0" * 64
    copied_weights.write_text(json.dumps(content))
    with pytest.raises(DescriptorError, match="quantiser"):
        load_quantiser(str(copied_weights))


def test_unknown_names_say_what_there_is():
    with pytest.raises(DescriptorError, match="mobilenet_v3"):
        load_descriptor("resnet999")
    with pytest.raises(DescriptorError, match="cpu"):
        load_descriptor(device="tpu")


def test_weights_are_small_and_never_pickled():
    files = [f for f in WEIGHTS_FOLDER.iterdir() if f.is_file()]
    # OpenVINO's form is a list of operations (.xml) and their constants in float32 (.bin).
    assert {f.suffix for f in files} <= {".safetensors", ".xml", ".bin", ".json", ".md", ".png"}
    assert max(f.stat().st_size for f in files) <= 9_000_000
    assert sum(f.stat().st_size for f in files) <= 14_000_000


def test_nobody_is_told_that_it_runs(tmp_path: Path) -> None:
    """OpenVINO keeps the id that it reports under in a folder of its user's."""
    script = "from idedup_tasks.descriptors import load_descriptor; load_descriptor(device='cpu')"
    environment = {k: v for k, v in os.environ.items() if k != "CI"} | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []
