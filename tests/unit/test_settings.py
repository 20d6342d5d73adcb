"""Collection files: what they say, how faults are named, and that the reference is up to date."""

from __future__ import annotations

import importlib.util
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from platformdirs import user_data_dir

from idedup_tasks.periods import period_of
from idedup_tasks.settings import Places, SettingsError, digest, load_collection, local_folder
from idedup_tasks.sources import is_local

ROOT = Path(__file__).resolve().parents[2]


def write(folder: Path, **settings: Any) -> Path:
    path = folder / "photos.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def test_two_lines_are_enough(tmp_path: Path) -> None:
    collection = load_collection(write(tmp_path, name="photos", source="/pictures"))
    assert collection.schedule == "0 0 * * *"
    assert collection.arrival.period == "day"
    assert collection.thresholds is None


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"source": "x"}, "photos.yaml: name: Field required"),
        ({"name": "Photos", "source": "x"}, "photos.yaml: name: .*pattern.*Photos"),
        ({"name": "p", "source": "x", "colour": "red"}, "photos.yaml: colour: .*not permitted"),
        ({"name": "p", "source": "x", "limits": {"max_bytes": 0}}, r"limits\.max_bytes: .*than 0"),
        ({"name": "p", "source": "x", "schedule": "often"}, "`schedule` 'often' is not a cron"),
        ({"name": "p", "source": "x", "arrival": {"rule": "key"}}, "arrival: .*`template` is need"),
        (
            {"name": "p", "source": "x", "arrival": {"rule": "key", "template": "{year}/{month}"}},
            r"lacks \{day\}",
        ),
        (
            {
                "name": "p",
                "source": "x",
                "thresholds": {"candidate": 0.7, "phash_distance": 4},
            },
            "model_id",
        ),
        (
            {"name": "p", "source": "x", "prefilter": {"hash": "dhash"}},
            "`prefilter.hash` dhash needs `thresholds` with a `phash_distance` of its own",
        ),
        ({"name": "p", "source": "x", "keeper": ["path"]}, "preferred_paths"),
        ({"name": "p", "source": "x", "keeper": ["bytes", "bytes"]}, "twice"),
    ],
)
def test_a_fault_names_file_field_and_expectation(
    tmp_path: Path, settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(SettingsError, match=named):
        load_collection(write(tmp_path, **settings))


@pytest.mark.parametrize(
    "address", ["/pictures", "file:///pictures", "FILE:///pictures", "local:///pictures"]
)
def test_a_source_and_a_lake_mean_the_same_by_an_address(address: str) -> None:
    assert is_local(address)
    assert local_folder(address) == "/pictures"


SECRETS = [
    "s3://AKIA:hunter2@bucket/photos",
    "s3://AKIA:hunter2/with/slashes+and@bucket/photos",
    "https://hunter2@host/photos",
    "sftp://me:12@hunter2:22/in",
    "https://host/photos?token=hunter2",
    "az://photos/in?sv=1&sig=hunter2",
    "s3://bucket/photos#hunter2",
    "abfs://photos:hunter2@account.dfs.core.windows.net/in",
]


@pytest.mark.parametrize("source", SECRETS)
def test_credentials_in_an_address_are_refused_and_not_repeated(
    tmp_path: Path, source: str
) -> None:
    """Source, settings and faults are shown to everybody who may see the DAG."""
    with pytest.raises(SettingsError, match=r"photos\.yaml: source: .*environment") as caught:
        load_collection(write(tmp_path, name="p", source=source, keeper=["path"], tags=3))
    told = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in told
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    "source",
    [
        *("/photos/a@b:c?d#e", "~/a:b@c", "file:///photos/me:you@x?y", "/odd/u:p@x://y?z"),
        *("s3://bucket/me@home/a:b", "s3://bucket:9000/x@y", "gs://bucket"),
        "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/photos/a@b",
        "abfs://photos@account.dfs.core.windows.net/in",
    ],
)
def test_other_addresses_are_taken_as_they_are(tmp_path: Path, source: str) -> None:
    assert load_collection(write(tmp_path, name="p", source=source)).source == source


@pytest.mark.parametrize(
    "content",
    [
        "name: p\nsource: [s3://me:hunter2@bucket]",
        "source: s3://me:hunter2@bucket",  # no name: what is wrong is the file
        "name: p\nsource: x\npassword: hunter2",
        "name: p\nsource: x\nconnection: aws://AKIA:hunter2@",
        "name: p\nsource: x\nalerts: [{notifier: a.B, arguments: hunter2}]",
        "name: p\nsource: x\nalerts: [{notifier: a.B, on: [hunter2]}]",
        "name: p\nsource: x\nlimits: {key: hunter2}",
        "name: p\nsource: x: s3://me:hunter2@bucket",
        "name: p\nsource: 'hunter2",
    ],
)
def test_faults_repeat_no_secret(tmp_path: Path, content: str) -> None:
    (tmp_path / "photos.yaml").write_text(content)
    with pytest.raises(SettingsError, match=r"photos\.yaml: ") as caught:
        load_collection(tmp_path / "photos.yaml")
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_misspelt_word_is_repeated(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"arrival\.period: .*'month' \(found \"dya\"\)"):
        load_collection(write(tmp_path, name="p", source="x", arrival={"period": "dya"}))


def test_every_fault_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as fault:
        load_collection(write(tmp_path, name="p", price_per_gb_month=-1))
    assert len(str(fault.value).splitlines()) == 2


@pytest.mark.parametrize("currency", ["usd", "US dollars", "$", ""])
def test_a_currency_is_a_code(tmp_path: Path, currency: str) -> None:
    said = write(tmp_path, name="p", source="/p", currency="EUR")
    assert load_collection(said).currency == "EUR"
    with pytest.raises(SettingsError, match="currency"):
        load_collection(write(tmp_path, name="p", source="/p", currency=currency))


@pytest.mark.parametrize("content", ["name: [", "just text", "- a\n- b", ""])
def test_what_is_no_mapping_is_a_fault_too(tmp_path: Path, content: str) -> None:
    (tmp_path / "photos.yaml").write_text(content)
    with pytest.raises(SettingsError, match=r"photos\.yaml"):
        load_collection(tmp_path / "photos.yaml")


def test_the_shipped_files_are_valid() -> None:
    files = sorted((ROOT / "config").glob("*/*.yaml"))
    names = [load_collection(path).name for path in files]
    assert len(files) >= 2
    assert len(set(names)) == len(names)


def test_settings_digests_differ_with_any_setting(tmp_path: Path) -> None:
    one = load_collection(write(tmp_path, name="p", source="x"))
    same = load_collection(write(tmp_path, source="x", name="p"))
    other = load_collection(write(tmp_path, name="p", source="x", grouping={"linkage": "ward"}))
    assert digest(one) == digest(same) != digest(other)
    assert digest(one, 1) != digest(one, 2)


def test_one_variable_moves_all_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IDEDUP_LAKE", "IDEDUP_WAREHOUSE", "IDEDUP_COLLECTIONS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("IDEDUP_HOME", str(tmp_path / "state"))
    places = Places.from_environment()
    assert places.home == tmp_path / "state"
    assert places.lake.startswith(str(places.home))
    assert str(places.home) in places.warehouse
    monkeypatch.setenv("IDEDUP_LAKE", "s3://lake/dedup")
    monkeypatch.setenv("IDEDUP_WAREHOUSE", "postgresql+psycopg://db/idedup")
    assert Places.from_environment().lake == "s3://lake/dedup"
    assert Places.from_environment().warehouse == "postgresql+psycopg://db/idedup"


def test_by_default_state_lies_in_the_users_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "LAKE", "WAREHOUSE", "COLLECTIONS"):
        monkeypatch.delenv(f"IDEDUP_{name}", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    places = Places.from_environment()
    assert places.home == Path(user_data_dir("idedup", appauthor=False)).resolve()
    assert not places.home.is_relative_to(ROOT)
    assert not places.home.exists()
    assert places.collections == places.home / "collections"


def test_periods_are_named_so_that_they_sort() -> None:
    moments = [
        datetime(2025, m, d, h, tzinfo=UTC) for m in (1, 10) for d in (2, 11) for h in (3, 12)
    ]
    for period, length in (("hour", 13), ("day", 10), ("month", 7)):
        names = [period_of(moment, period) for moment in moments]  # type: ignore[arg-type]
        assert names == sorted(names)
        assert {len(name) for name in names} == {length}


def test_the_reference_says_what_the_settings_say() -> None:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs/reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (ROOT / "docs/collections.md").read_text(encoding="utf-8")
    assert module.reference() == written, "run `make docs`"
