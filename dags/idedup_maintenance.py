from idedup_dags.idedup_maintenance import *  # noqa: F403 - Airflow DAGs
