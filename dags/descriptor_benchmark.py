from idedup_dags.descriptor_benchmark import *  # noqa: F403 - Airflow DAGs
