"""The registry: what is put into the lake is found by its model_id, unchanged or not at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import save_scenes
from PIL import Image
from pydantic import ValidationError

torch = pytest.importorskip("torch")

from safetensors.numpy import save_file as save_arrays  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from idedup_tasks.descriptors import (  # noqa: E402
    DecisionLevels,
    DescriptorCard,
    DescriptorError,
    descriptor_info,
    load_card,
    load_descriptor,
    load_quantiser,
    registry,
)
from idedup_tasks.descriptors.card import file_sha256  # noqa: E402
from idedup_tasks.descriptors.conversion import convert  # noqa: E402
from idedup_tasks.descriptors.network import DescriptorNetwork  # noqa: E402
from idedup_tasks.pipeline import Run  # noqa: E402
from idedup_tasks.settings import Collection, Places  # noqa: E402
from idedup_tasks.training import register  # noqa: E402
from idedup_tasks.warehouse import Warehouse  # noqa: E402

DETAILS: dict[str, Any] = {"micro_ap": 0.5}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """A lake and a warehouse of their own, by the environment."""
    monkeypatch.setenv("IDEDUP_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("IDEDUP_LAKE", raising=False)
    monkeypatch.delenv("IDEDUP_WAREHOUSE", raising=False)
    found = Places.from_environment()
    Warehouse(found.warehouse).upgrade()
    return found


@pytest.fixture
def card(tmp_path: Path) -> DescriptorCard:
    """A small network with random weights, as training would leave it."""
    folder = tmp_path / "trained"
    folder.mkdir()
    torch.manual_seed(0)
    network = DescriptorNetwork("lenet", 64, 3.0)
    save_file(network.state_dict(), folder / "lenet.safetensors")
    centroids = np.eye(64, dtype=np.float16)[:8]
    save_arrays({"centroids": centroids}, folder / "lenet_quantiser.safetensors")
    card = DescriptorCard(
        name="lenet",
        architecture="lenet",
        dim=64,
        input_size=32,
        gem_p=3.0,
        weights="lenet.safetensors",
        weights_sha256=file_sha256(folder / "lenet.safetensors"),
        thresholds=DecisionLevels(0.9, 0.8, 0.7, 4),
        quantiser="lenet_quantiser.safetensors",
        quantiser_sha256=file_sha256(folder / "lenet_quantiser.safetensors"),
        figures={},
        folder=folder,
    )
    made = convert(card)
    made.write()
    return made


def test_a_registered_descriptor_is_found_by_its_model_id(
    places: Places, card: DescriptorCard
) -> None:
    model_id = card.model_id("cpu")
    with pytest.raises(DescriptorError, match=r"neither installed nor registered in .*models"):
        descriptor_info(model_id)
    location = registry.add_card(card, DETAILS)
    assert location == f"{places.lake}/models/{model_id}"
    shutil.rmtree(card.folder)
    assert descriptor_info(model_id, "cpu") == (model_id, 64, card.thresholds)
    assert load_quantiser(model_id).shape == (8, 64)
    for device in ("cpu", "reference"):
        vectors = load_descriptor(model_id, device).encode([Image.new("RGB", (9, 9))])
        assert vectors.shape == (1, 64)
    [registration] = registry.registrations()
    assert registration["model_id"] == model_id
    assert registration["micro_ap"] == 0.5


def test_a_collection_names_a_registered_descriptor(places: Places, card: DescriptorCard) -> None:
    registry.add_card(card, DETAILS)
    model_id = card.model_id("cpu")
    collection = Collection(name="photos", source="/photos", descriptor=model_id, device="cpu")
    run = Run(collection, "run", None, places)
    assert run.model_id == model_id
    assert run.thresholds.candidate == card.thresholds.candidate
    assert run.thresholds.phash_distance == card.thresholds.phash_distance
    pinned = replace(run, collection=collection.model_copy(update={"model_id": model_id}))
    assert pinned.model_id == model_id


def test_the_shipped_descriptor_is_found_by_its_model_id_too(places: Places) -> None:
    shipped = load_card()
    assert load_card(shipped.model_id("cpu")) == shipped


def test_no_collection_takes_the_registrys_folder() -> None:
    with pytest.raises(ValidationError, match="keeps registered descriptors there"):
        Collection(name="models", source="/photos")


def test_what_is_registered_never_changes(places: Places, card: DescriptorCard) -> None:
    registry.add_card(card, DETAILS)
    replace(card, thresholds=replace(card.thresholds, pair=0.1)).write()
    registry.add_card(load_card(str(card.folder / "lenet.json")), {"micro_ap": 0.9})
    assert load_card(card.model_id("cpu")).thresholds.pair == 0.9
    [registration] = registry.registrations()
    assert registration["micro_ap"] == 0.5


def test_a_registration_that_was_cut_off_is_not_there_and_can_be_repeated(
    places: Places, card: DescriptorCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as cut:
        cut.setattr("idedup_tasks.lake.Lake.write_text", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            registry.add_card(card, DETAILS)
    assert registry.registrations() == []
    with pytest.raises(DescriptorError, match="nor registered"):
        load_card(card.model_id("cpu"))
    registry.add_card(card, DETAILS)
    assert load_card(card.model_id("cpu")).name == "lenet"


@pytest.mark.parametrize(
    "file",
    [
        *("lenet.json", "lenet.safetensors", "lenet_quantiser.safetensors"),
        *("lenet.xml", "lenet.bin"),
    ],
)
def test_a_registered_file_that_was_changed_is_an_error(
    places: Places, card: DescriptorCard, file: str
) -> None:
    model_id = card.model_id("cpu")
    folder = Path(registry.add_card(card, DETAILS))
    (folder / file).write_bytes((folder / file).read_bytes()[:-1] + b" ")
    with pytest.raises(DescriptorError, match=file):
        load_quantiser(model_id)
        load_descriptor(model_id, "reference")
        load_descriptor(model_id, "cpu")


def test_from_a_remote_lake_it_is_fetched_once(
    places: Places, card: DescriptorCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    monkeypatch.setenv("IDEDUP_LAKE", f"memory://{tmp_path.name}/lake")
    registry.add_card(card, DETAILS)
    assert len(registry.registrations()) == 1
    model_id = card.model_id("cpu")
    kept = load_card(model_id).folder
    assert kept == places.home / "cache" / "models" / model_id
    memory = fsspec.filesystem("memory")
    memory.rm(f"/{tmp_path.name}", recursive=True)
    assert load_quantiser(model_id).shape == (8, 64)
    assert load_descriptor(model_id, "cpu").model_id == model_id
    shutil.rmtree(kept)
    with pytest.raises(DescriptorError, match="nor registered"):
        load_card(model_id)


# --- who is registered -------------------------------------------------------------------------


def another(card: DescriptorCard, folder: Path) -> Path:
    """The same weights at another input size: another model_id, another µAP."""
    shutil.copytree(card.folder, folder)
    return convert(replace(card, input_size=48, folder=folder)).write()


def test_only_a_better_descriptor_is_registered(
    places: Places, card: DescriptorCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = save_scenes(tmp_path / "photos", 40)
    first, second = card.folder / "lenet.json", another(card, tmp_path / "other")
    worth = {card.folder: 0.4, second.parent: 0.6}
    monkeypatch.setattr(
        "idedup_tasks.training.run.micro_ap",
        lambda sidecar, _: worth.get(sidecar.parent, 0.4),
    )
    done = register(first, photos, places)
    assert done.registered
    assert done.current is None
    better = register(second, photos, places)
    assert better.registered
    assert better.current == done.model_id
    assert (better.micro_ap, better.current_micro_ap) == (0.6, 0.4)
    # The last one registered is the one to beat, and once more is no other result.
    worth |= {Path(better.location or ""): 0.6}
    third = replace(card, input_size=40, folder=tmp_path / "third")
    shutil.copytree(card.folder, third.folder)
    refused = register(third.write(), photos, places)
    assert not refused.registered
    assert refused.current == better.model_id
    assert register(second, photos, places) == better
    rows = Warehouse(places.warehouse).query("registered_models")
    assert {row["model_id"] for row in rows} == {done.model_id, better.model_id}
    assert {row["location"] for row in rows} == {done.location, better.location}
    [row] = [row for row in rows if row["model_id"] == better.model_id]
    assert row["card"]["input_size"] == 48
    assert row["dim"] == 64
    assert json.loads(json.dumps(row["card"])) == load_card(str(second)).content()


def test_descriptors_are_compared_on_the_photographs_set_aside(
    places: Places, card: DescriptorCard, tmp_path: Path
) -> None:
    photos = save_scenes(tmp_path / "photos", 40)
    said: list[str] = []
    done = register(card.folder / "lenet.json", photos, places, said.append)
    assert done.registered
    assert 0 < (done.micro_ap or 0) <= 1
    assert said == [f"µAP {done.micro_ap}"]
