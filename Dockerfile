# syntax=docker/dockerfile:1
# The stack's two images, one target each; docker-compose.yaml says which service runs which.

FROM python:3.11.15-slim-bookworm AS idedup
# The interpreter's own image, and not apache/airflow: that one carries dozens of providers pinned
# to other versions than requirements.txt, which is what everything here is tested with.
# 0: wheels for the CPU only, some gigabytes smaller. 1: the CUDA wheels of requirements.txt.
ARG CUDA=0
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    AIRFLOW_HOME=/opt/airflow IDEDUP_HOME=/var/lib/idedup
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/idedup idedup && \
    install --directory --owner=idedup --group=idedup --mode=0750 \
        /opt/airflow /opt/airflow/auth /opt/airflow/logs /var/lib/idedup
WORKDIR /opt/idedup
COPY requirements.txt ./
RUN if [ "$CUDA" = 1 ]; then \
        pip install --requirement requirements.txt; \
    else \
        sed -e '/^faiss-gpu==/d' -e 's/^\(faiss-cpu==[^;]*\);.*/\1/' requirements.txt > /tmp/cpu.txt && \
        pip install --extra-index-url https://download.pytorch.org/whl/cpu --requirement /tmp/cpu.txt; \
    fi
COPY pyproject.toml ./
COPY config/ config/
COPY dags/ dags/
COPY idedup_tasks/ idedup_tasks/
COPY plugins/ plugins/
COPY sql/ sql/
RUN pip install --no-deps --editable .
USER 10001:10001

FROM apache/superset:6.1.0 AS superset
# The official image comes without a database driver.
USER root
RUN . /app/.venv/bin/activate && uv pip install --no-cache psycopg2-binary==2.9.13
COPY bi/superset/ /app/idedup/
USER superset
