"""The Superset dashboard as code fits together and fits the warehouse: every metric runs on it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from result_rows import a_run, fill, image, keeper, member, pair, rejected

from idedup_tasks.warehouse import Warehouse

ASSETS = Path(__file__).resolve().parents[2] / "bi" / "superset" / "assets"


def assets(kind: str) -> dict[str, dict[str, Any]]:
    """YAML files of one kind, by their UUID."""
    found = [yaml.safe_load(p.read_text(encoding="utf-8")) for p in (ASSETS / kind).glob("*.yaml")]
    assert found, kind
    assert len({asset["uuid"] for asset in found}) == len(found)
    return {asset["uuid"]: asset for asset in found}


DATASETS = assets("datasets")
CHARTS = assets("charts")
[DASHBOARD] = assets("dashboards").values()
[DATABASE] = assets("databases").values()


def columns_of(params: dict[str, Any]) -> set[str]:
    """The dataset's columns that a chart names."""
    named = {c for key in ("groupby", "all_columns") for c in params.get(key, [])}
    named |= {params[key] for key in ("x_axis", "granularity_sqla") if params.get(key)}
    named |= {f["subject"] for f in params.get("adhoc_filters", [])}
    named |= {re.sub(r'^\["|",.*$', "", c) for c in params.get("order_by_cols", [])}
    return named


def metrics_of(params: dict[str, Any]) -> set[str]:
    named = set(params.get("metrics", []))
    return named | {params[key] for key in ("metric", "timeseries_limit_metric") if params.get(key)}


@pytest.fixture(scope="module")
def filled(postgresql_server: str, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """A real PostgreSQL with a few rows in every view that charts read."""
    import psycopg

    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS superset_assets CASCADE")
        connection.execute("CREATE SCHEMA superset_assets")
    warehouse = Warehouse(f"{postgresql_server}&options=-csearch_path%3Dsuperset_assets")
    warehouse.upgrade()
    run = a_run(tmp_path_factory.mktemp("assets"))
    content = [
        keeper("01"),
        member("02", "01", "01", "crop"),
        image("03"),
        rejected("04"),
    ]
    fill(warehouse, run, content, [pair("01", "03")])
    return warehouse


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda d: d["table_name"])
def test_a_dataset_is_its_view(filled: Warehouse, dataset: dict[str, Any]) -> None:
    """Its columns are the view's, in type too where time is concerned; its metrics run."""
    inspector = sa.inspect(filled.engine)
    name = dataset["table_name"]
    assert name in inspector.get_view_names(), "BI reads views only"
    held = {c["name"]: isinstance(c["type"], sa.TIMESTAMP) for c in inspector.get_columns(name)}
    assert {c["column_name"]: c["is_dttm"] for c in dataset["columns"]} == held
    assert dataset["main_dttm_col"] is None or held[dataset["main_dttm_col"]]
    assert dataset["database_uuid"] == DATABASE["uuid"]
    assert dataset["metrics"]
    with filled.engine.connect() as connection:
        for metric in dataset["metrics"]:
            connection.execute(sa.text(f"SELECT {metric['expression']} FROM {name}")).one()


@pytest.mark.parametrize("chart", CHARTS.values(), ids=lambda c: c["slice_name"])
def test_a_chart_asks_for_what_its_dataset_has(filled: Warehouse, chart: dict[str, Any]) -> None:
    dataset = DATASETS[chart["dataset_uuid"]]
    params = chart["params"]
    assert params["viz_type"] == chart["viz_type"]
    columns, metrics = columns_of(params), metrics_of(params)
    assert columns <= {c["column_name"] for c in dataset["columns"]}
    assert metrics <= {m["metric_name"] for m in dataset["metrics"]}
    assert columns - {f["subject"] for f in params.get("adhoc_filters", [])} or metrics
    grouped = [*params.get("groupby", []), *([params["x_axis"]] if "x_axis" in params else [])]
    expressions = [m["expression"] for m in dataset["metrics"] if m["metric_name"] in metrics]
    selected = ", ".join([*params.get("all_columns", []), *grouped, *expressions])
    query = f"SELECT {selected} FROM {dataset['table_name']}"
    if grouped:
        query += f" GROUP BY {', '.join(grouped)}"
    with filled.engine.connect() as connection:
        connection.execute(sa.text(query)).all()


def test_the_dashboard_shows_every_chart_once() -> None:
    position = DASHBOARD["position"]
    shown = [p for p in position.values() if isinstance(p, dict) and p["type"] == "CHART"]
    assert sorted(p["meta"]["uuid"] for p in shown) == sorted(CHARTS)
    for part in shown:
        assert part["meta"]["sliceName"] == CHARTS[part["meta"]["uuid"]]["slice_name"]
        row = position[part["parents"][-1]]
        assert part["id"] in row["children"]
    rows = [p for p in position.values() if isinstance(p, dict) and p["type"] == "ROW"]
    for row in rows:
        assert sum(position[c]["meta"]["width"] for c in row["children"]) == 12, row["id"]


def test_the_dashboard_filters_by_collection_and_interval() -> None:
    filters = {f["filterType"]: f for f in DASHBOARD["metadata"]["native_filter_configuration"]}
    [target] = filters["filter_select"]["targets"]
    assert target["column"]["name"] == "collection"
    assert target["datasetUuid"] in DATASETS
    assert "filter_time" in filters
    for dataset in DATASETS.values():
        assert "collection" in {c["column_name"] for c in dataset["columns"]}
    for chart in CHARTS.values():
        times = {f["subject"] for f in chart["params"].get("adhoc_filters", [])}
        assert DATASETS[chart["dataset_uuid"]]["main_dttm_col"] in {*times, None}


def test_no_file_holds_a_password() -> None:
    url = sa.make_url(DATABASE["sqlalchemy_uri"])
    assert (url.username, url.password) == ("idedup_bi", "XXXXXXXXXX")  # Superset's mask
    assert not DATABASE["allow_dml"]
    assert not DATABASE["allow_file_upload"]
    metadata = yaml.safe_load((ASSETS / "metadata.yaml").read_text(encoding="utf-8"))
    assert metadata["type"] == "assets"
