"""What the DAG files wire together; nothing here imports a stage, the lake or a model on import."""
