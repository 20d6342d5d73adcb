"""The pages of the Airflow plugin."""
