"""The plan of the house that contracts of pyproject.toml cannot say; `make lint` checks those."""

from __future__ import annotations

from graphlib import TopologicalSorter

import grimp


def test_no_module_imports_itself_through_others() -> None:
    """Imports within functions are imports, and so are those of a package by its own parts."""
    graph = grimp.build_graph("idedup_tasks", "idedup_dags", "idedup_ui", cache_dir=None)
    imports = {m: graph.find_modules_directly_imported_by(m) for m in graph.modules}
    assert imports["idedup_tasks.pipeline"]
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle
