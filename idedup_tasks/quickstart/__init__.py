"""`make run`: a real Airflow finds the duplicates of a sample collection, or of a folder.

Airflow is started as any other program and driven through its REST API, so everything seen here
can be done by hand in its UI.
"""

from idedup_tasks.quickstart.program import main
from idedup_tasks.quickstart.result import what_next
from idedup_tasks.quickstart.sample import agreement, wrong_pairs

__all__ = ["agreement", "main", "what_next", "wrong_pairs"]
