from idedup_dags.descriptor_training import *  # noqa: F403 - Airflow DAGs
