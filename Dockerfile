# The stack's two images, one target each; docker-compose.yaml says which service runs which.

FROM python:3.11.15-slim-bookworm AS idedup
# The interpreter's own image, and not apache/airflow: that one carries dozens of providers pinned
# to other versions than requirements.txt, which is what everything here is tested with.
# 1: with PyTorch, CUDA's libraries and faiss-gpu, some gigabytes more; training needs it too.
ARG CUDA=0
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    AIRFLOW_HOME=/opt/airflow IDEDUP_HOME=/var/lib/idedup
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/idedup idedup && \
    install --directory --owner=idedup --group=idedup --mode=0750 \
        /opt/airflow /opt/airflow/auth /opt/airflow/logs /var/lib/idedup
WORKDIR /opt/idedup
COPY LICENSE ./
COPY README.md ./
COPY pyproject.toml ./
COPY requirements.txt ./
COPY config/ config/
COPY dags/ dags/
COPY idedup_tasks/ idedup_tasks/
COPY plugins/ plugins/
COPY sql/ sql/
RUN --mount=type=cache,target=/root/.cache/pip \
    if [ "$CUDA" = 1 ]; then further=,gpu,train; fi && \
    pip install --constraint requirements.txt ".[airflow,azure,dask,gcs,postgres,s3$further]" && \
    if [ "$CUDA" = 1 ]; then \
        pip uninstall --yes faiss-cpu && pip install faiss-gpu==1.15.1; \
    fi
USER 10001:10001

FROM apache/superset:6.1.0 AS superset
# The official image comes without a database driver.
USER root
RUN . /app/.venv/bin/activate && uv pip install --no-cache psycopg2-binary==2.9.13
COPY bi/superset/ /app/idedup/
USER superset
