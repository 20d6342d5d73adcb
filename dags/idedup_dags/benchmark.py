"""The task of the benchmark's DAG, as a plain function."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from airflow.sdk import get_current_context

from idedup_dags import permitted
from idedup_dags.tasks import data_faults_fail
from idedup_tasks.settings import Places, make_private


@data_faults_fail()
def measure() -> dict[str, Any]:
    """Measure what the params name. Small: where the results lie, and each method's µAP and F1."""
    from idedup_tasks.benchmarks import datasets, methods, run

    context = get_current_context()
    params, run_id, places = context["params"], context["run_id"], Places.from_environment()
    photos = permitted.photos("photos", params["photos"])
    names = [permitted.descriptor("methods", name) for name in params["methods"]]
    # From the deployment only: whoever may trigger the DAG would choose what a worker runs.
    peers = os.environ.get("IDEDUP_PEER_PYTHON")
    chosen = methods.choose_methods(names, Path(peers) if peers else None)
    images = datasets.open_dataset(params["dataset"], photos, limit=params["limit"])
    run.check_warehouse(places.warehouse)
    results = run.run_benchmark(images, chosen, benchmark_id=run_id)
    folder = make_private(places.home) / "benchmarks" / re.sub(r"[^A-Za-z0-9_.-]+", "_", run_id)
    written = run.write_results(results, folder)
    run.record(results, places.warehouse)
    return {
        "report": str(written[-1]),
        "not_run": results["not_run"],
        "methods": {
            name: {
                "micro_ap": round(result["pairs"]["all"]["micro_ap"], 4),
                "f1": round(result["at_threshold"]["all"]["f1"], 4),
            }
            for name, result in results["methods"].items()
        },
    }
