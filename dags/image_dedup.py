from idedup_dags.image_dedup import *  # noqa: F403 - Airflow DAGs
