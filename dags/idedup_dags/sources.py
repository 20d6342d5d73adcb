"""From an Airflow connection to the options of the source's file system."""

from __future__ import annotations

import json
from typing import Any

from airflow.sdk import Connection


def source_options(connection: Connection) -> dict[str, Any]:
    """fsspec options (credentials among them: not for XCom, logs or the lake) of a connection.

    - `aws` (s3fs): login, password; extra `aws_session_token`, `endpoint_url`, `region_name`.
    - `google_cloud_platform` (gcsfs): extra `keyfile_dict` or `key_path`, `project`.
    - `wasb`, `adls`, `azure_data_lake` (adlfs): login and password (a service principal's when
      there is a `tenant_id`); extra `account_name`, `connection_string`, `sas_token`.

    Raises:
        ValueError: another type of connection.
    """
    extra = connection.extra_dejson
    if connection.conn_type == "aws":
        region = extra.get("region_name")
        options = {
            "key": connection.login,
            "secret": connection.password,
            "token": extra.get("aws_session_token"),
            "endpoint_url": extra.get("endpoint_url") or connection.host,
            "client_kwargs": {"region_name": region} if region else None,
        }
    elif connection.conn_type == "google_cloud_platform":
        key = extra.get("keyfile_dict") or extra.get("key_path")
        if isinstance(key, str) and key.lstrip().startswith("{"):
            key = json.loads(key)
        options = {"token": key, "project": extra.get("project")}
    elif connection.conn_type in ("wasb", "adls", "azure_data_lake"):
        tenant = extra.get("tenant_id") or extra.get("tenant")
        # With a tenant, login and password are a service principal's; else the account's own.
        options = {
            "account_name": extra.get("account_name")
            or (connection.host if tenant else connection.login),
            "account_key": None if tenant else connection.password,
            "client_id": connection.login if tenant else None,
            "client_secret": connection.password if tenant else None,
            "tenant_id": tenant,
            "connection_string": extra.get("connection_string"),
            "sas_token": extra.get("sas_token"),
        }
    else:
        raise ValueError(
            f"Connection {connection.conn_id} is of type {connection.conn_type!r}: a source takes "
            "aws, google_cloud_platform, wasb or adls."
        )
    return {name: value for name, value in options.items() if value}
