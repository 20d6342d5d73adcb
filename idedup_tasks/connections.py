"""Credentials of a source: from an Airflow connection to the options of its file system.

The task resolves the connection; a process on another machine looks it up in its own environment,
in `AIRFLOW_CONN_<ID>`, written as Airflow writes it (a URI or JSON). What travels is its name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from idedup_tasks.settings import SettingsError


class Connection(Protocol):
    """The parts of an Airflow connection that matter here."""

    @property
    def conn_id(self) -> str: ...
    @property
    def conn_type(self) -> str | None: ...
    @property
    def login(self) -> str | None: ...
    @property
    def password(self) -> str | None: ...
    @property
    def host(self) -> str | None: ...
    @property
    def extra_dejson(self) -> dict[str, Any]: ...


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


@dataclass(frozen=True)
class Access:
    """How a source's file system is opened, from any process.

    Pickled, it is the connection's name alone: where it comes to, the options are looked up in that
    process's environment. So no credential can get into what a scheduler sends and keeps.
    """

    connection: str | None
    _options: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return Access, (self.connection,)

    def options(self) -> dict[str, Any]:
        """fsspec options; without a connection, what fsspec itself finds in the environment.

        Raises:
            SettingsError: the connection is not in this process's environment, or is of no use.
        """
        if self._options is not None:
            return dict(self._options)
        if self.connection is None:
            return {}
        try:
            return source_options(_from_environment(self.connection))
        except ValueError as error:
            raise SettingsError(f"connection: {error}") from None


@dataclass(frozen=True)
class _Stated:
    """A connection as an environment variable states it."""

    conn_id: str
    conn_type: str | None
    login: str | None
    password: str | None = field(repr=False)
    host: str | None
    extra_dejson: dict[str, Any] = field(repr=False)


def _from_environment(connection: str) -> _Stated:
    name = f"AIRFLOW_CONN_{connection.upper()}"
    text = os.environ.get(name)
    if not text:
        raise SettingsError(
            f"{name} is not set on a Dask worker: give it in the workers' own environment, as the "
            "URI or JSON of the connection that the collection names."
        )
    try:
        stated = json.loads(text) if text.lstrip().startswith("{") else _of_uri(text)
        extra = stated.get("extra") or {}
        extra = json.loads(extra) if isinstance(extra, str) else extra
        kind = str(stated["conn_type"]).replace("-", "_")
    except (ValueError, KeyError, AttributeError):
        # Without the cause, which quotes what it could not read.
        raise SettingsError(
            f"{name} is neither the URI nor the JSON of an Airflow connection: see `airflow "
            "connections get`."
        ) from None
    return _Stated(
        connection, kind, stated.get("login"), stated.get("password"), stated.get("host"), extra
    )


def _of_uri(text: str) -> dict[str, Any]:
    """`type://login:password@host/?extra`, each part quoted, as Airflow takes it."""
    uri = urlsplit(text)
    if not uri.scheme:
        raise ValueError
    login, _, password = uri.netloc.rpartition("@")[0].partition(":")
    given: dict[str, Any] = dict(parse_qsl(uri.query, keep_blank_values=True))
    if "__extra__" in given:
        given = json.loads(given["__extra__"])
    return {
        "conn_type": uri.scheme,
        "login": unquote(login) or None,
        "password": unquote(password) or None,
        "host": unquote(uri.hostname or "") or None,
        "extra": given,
    }
