"""The DAGs and their tasks; no module here imports a stage, the lake or a model on import.

A DAG file of one line makes Airflow find the DAGs of a module, here those of all collections (the
words Airflow and DAG must be in it, or Airflow does not look into the file):

    from idedup_dags.image_dedup import *  # Airflow DAGs

`idedup_maintenance`, `descriptor_training` and `descriptor_benchmark` come the same way.
"""
