"""What a user sets: one YAML file per collection, and the places where state lives.

A collection file is data, checked once, here. Every field is documented by its `description`,
from which `docs/collections.md` is generated.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from platformdirs import user_data_dir
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from idedup_tasks.addresses import secret_in, split_address
from idedup_tasks.errors import TerminalError
from idedup_tasks.periods import Period

# Of a member of a group to its keeper, the surest first: duplicates, then variants, which stay in
# their group and are not reclaimable. `docs/verification.md` says what each means.
DUPLICATES = ("exact", "same", "crop")
VARIANTS = ("inside", "edited")
RELATIONS = DUPLICATES + VARIANTS
# Here and not in `pipeline`, so that a DAG file can name them without importing the lake.
STAGES = ("ingest", "prefilter", "embed", "index", "match", "group", "report")

Linkage = Literal["average", "ward", "complete", "single"]
HashKind = Literal["phash", "dhash", "ahash", "whash"]
AlertKind = Literal["failure", "quality", "deadline", "jump"]
KeeperCriterion = Literal[
    "whole",
    "unedited",
    "detail",
    "resolution",
    "format",
    "exif",
    "bytes",
    "central",
    "earliest",
    "path",
]


class SettingsError(TerminalError, ValueError):
    """A collection file that cannot be used: names file, field and what is expected."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Arrival(_Strict):
    """When an image arrived, and how arrivals are cut into partitions."""

    rule: Literal["modified", "key"] = Field(
        "modified",
        description="`modified`: the object's modification time; `key`: a date in its key.",
    )
    template: str | None = Field(
        None,
        description="For `rule: key`: where the date stands, such as "
        "`incoming/{year}/{month}/{day}/` (also `{hour}`). A key that does not match is rejected.",
    )
    period: Period = Field("day", description="Length of a partition (UTC, half-open, aligned).")

    @model_validator(mode="after")
    def _template_fits_rule(self) -> Arrival:
        if (self.rule == "key") != (self.template is not None):
            raise ValueError("`template` is needed with `rule: key`, and only there")
        if self.template is not None:
            needed = {"hour": ("year", "month", "day", "hour"), "day": ("year", "month", "day")}
            for field in needed.get(self.period, ("year", "month")):
                if f"{{{field}}}" not in self.template:
                    raise ValueError(f"`template` lacks {{{field}}}, which `period` needs")
        return self


class Thresholds(_Strict):
    """From where on two images are looked at: of one descriptor, and of the perceptual hash."""

    candidate: float = Field(
        ge=0, le=1, description="Cosine similarity from which two images are looked at."
    )
    phash_distance: int = Field(
        ge=0, le=16, description="Bits of 64 up to which two perceptual hashes are looked at."
    )


class Prefilter(_Strict):
    """The perceptual hash and how it is compared."""

    hash: HashKind = Field(
        "phash",
        description="64-bit hash, as `imagehash` defines it. Another than `phash` needs "
        "`thresholds`, for no distance of it is calibrated.",
    )
    mirrored: bool = Field(
        False, description="Also compare the eight rotations and mirrors of the later image."
    )


class Matching(_Strict):
    """Which pairs of images are looked at."""

    candidates: int = Field(
        10,
        ge=1,
        le=100,
        description="Most similar images that each image is looked at with, at most. One with more "
        "is crowded: counted, and shown.",
    )
    thorough: bool = Field(
        False,
        description="Encode nine overlapping windows of each image by themselves, which finds more "
        "of what was cut out, framed or pasted; embedding takes two and a half times as long. "
        "Part of the descriptor's version: turned on, everything is embedded anew.",
    )
    exact_limit: int = Field(
        60_000,
        ge=0,
        description="Up to this many active images all are compared with all by their vectors; "
        "beyond it, those that share a cell of the descriptor's quantiser.",
    )
    cells_per_image: int = Field(
        4, ge=1, le=16, description="Nearest cells each image is put in beyond `exact_limit`."
    )


class Grouping(_Strict):
    """How pairs that were looked at become groups."""

    linkage: Linkage = Field("average", description="Linkage of the hierarchical clustering.")
    linkage_limit: int = Field(
        64,
        ge=2,
        le=256,
        description="In components of up to so many images all pairs are looked at, and the "
        "linkage cuts that matrix; a larger one is cut into stars around keepers.",
    )
    cut: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Score, of a look, at which the hierarchical clustering is cut.",
    )
    variants_reclaimable: bool = Field(
        False,
        description="Whether variants (a screenshot of the keeper, an edited one) count as "
        "reclaimable, as duplicates do.",
    )


class Limits(_Strict):
    """What ingestion refuses to read."""

    max_bytes: int = Field(256 * 2**20, gt=0, description="Largest object read, in bytes.")
    max_pixels: int = Field(100_000_000, gt=0, description="Largest image decoded, in pixels.")
    timeout_seconds: float = Field(60, gt=0, description="Longest time one image may take.")


class Quality(_Strict):
    """Limits of the gates; a broken `error` rule keeps the candidate from being published."""

    max_reject_ratio: float = Field(
        0.2, ge=0, le=1, description="Share of rejected objects above which ingest fails."
    )
    max_removal_ratio: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Share of a partition that a listing may remove without being allowed to.",
    )
    max_duplicate_jump: float = Field(
        0.2,
        ge=0,
        le=1,
        description="So much more of what arrived may be duplicates than in the periods before "
        "(their median) without a warning; 0.2 is twenty points.",
    )
    warn_only: tuple[str, ...] = Field(
        (), description="Names of rules that warn instead of failing."
    )


class Alert(_Strict):
    """Who is told, through one of Airflow's notifiers; the log is told in any case."""

    notifier: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")] = Field(
        description="A notifier's class: `airflow.providers.smtp.notifications.smtp.SmtpNotifier`. "
        "Others than Airflow's only from modules that the deployment names in `IDEDUP_NOTIFIERS`.",
    )
    on: tuple[AlertKind, ...] = Field(
        ("failure", "quality", "deadline", "jump"),
        min_length=1,
        description="Of what: a task that failed for good, a broken rule of severity error, a "
        "missed deadline, new arrivals with far more duplicates than usual.",
    )
    arguments: dict[str, Any] = Field(
        default_factory=dict,
        description="The notifier's own arguments; its templates may say `{{ alert.text }}`, "
        "`{{ alert.kind }}`, `{{ alert.collection }}` and `{{ alert.run_id }}`. Credentials belong "
        "into the Airflow connection that they name.",
    )


class Collection(_Strict):
    """One collection of images: where it is, when it is looked at, what counts as a duplicate."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")] = Field(
        description="Lower-case name; part of the DAG id, the lake's folder and dashboard rows."
    )
    source: str = Field(
        min_length=1,
        description="Folder or URL: /path, s3://, gs://, az://. Everybody who may see the DAG sees "
        "it: credentials in it are refused.",
    )
    connection: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_.-]+$",
        description="Id of the Airflow connection with the source's credentials; else environment.",
    )
    follow_links: bool = Field(
        False,
        description="Whether links that lead out of a source folder are followed; else they are "
        "rejected. Whoever may put a link there then has whatever the workers may read looked at.",
    )
    arrival: Arrival = Field(default_factory=lambda: Arrival.model_validate({}))
    schedule: str | None = Field(
        "0 0 * * *", description="Cron expression (UTC) of data intervals; null: manual only."
    )
    start_date: date = Field(date(2000, 1, 1), description="First interval that can be backfilled.")
    descriptor: str = Field(
        "mobilenet_v3",
        description="Descriptor that embeds the images: a shipped one, or the model_id of one that "
        "`idedup train --register` put into the lake.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="Where the descriptor runs. Part of its version, since results differ in the "
        "last digits: name it where some machines have a GPU and others none.",
    )
    model_id: str | None = Field(
        None,
        description="Pins the descriptor's version; runs fail rather than mix versions when the "
        "installed one differs. Empty: the installed one.",
    )
    thresholds: Thresholds | None = Field(
        None, description="Empty: those calibrated for the descriptor."
    )
    prefilter: Prefilter = Field(default_factory=lambda: Prefilter.model_validate({}))
    matching: Matching = Field(default_factory=lambda: Matching.model_validate({}))
    grouping: Grouping = Field(default_factory=lambda: Grouping.model_validate({}))
    keeper: tuple[KeeperCriterion, ...] = Field(
        ("whole", "unedited", "detail", "format", "exif", "central", "earliest", "path"),
        description="Ordered criteria for the image to keep; the image id breaks ties.",
    )
    preferred_paths: tuple[str, ...] = Field(
        (), description="Key prefixes, best first, for the criterion `path`."
    )
    limits: Limits = Field(default_factory=lambda: Limits.model_validate({}))
    quality: Quality = Field(default_factory=lambda: Quality.model_validate({}))
    price_per_gb_month: float = Field(
        0.023, ge=0, description="Storage price of 10⁹ bytes, for the cost of duplicates."
    )
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = Field(
        "USD", description="Currency of `price_per_gb_month`, by its ISO 4217 code."
    )
    deadline_hours: float | None = Field(
        None,
        gt=0,
        description="A run that has not ended so long after it was queued is an alert.",
    )
    alerts: tuple[Alert, ...] = Field((), description="Who is told when something goes wrong.")
    owner: str = Field("idedup", description="Owner shown in Airflow.")
    tags: tuple[str, ...] = Field((), description="Further tags of the DAG.")

    @field_validator("source")
    @classmethod
    def _public(cls, source: str) -> str:
        if said := secret_in(source):
            raise ValueError(said)
        return source

    @model_validator(mode="after")
    def _consistent(self) -> Collection:
        if self.name == "models":
            raise ValueError("`name` models is taken: the lake keeps registered descriptors there")
        if self.thresholds is not None and self.model_id is None:
            raise ValueError(
                "`thresholds` need the `model_id` they belong to: they do not transfer"
            )
        if self.schedule is not None:
            from croniter import croniter

            if not croniter.is_valid(self.schedule):
                raise ValueError(f"`schedule` {self.schedule!r} is not a cron expression")
        if self.prefilter.hash != "phash" and self.thresholds is None:
            raise ValueError(
                f"`prefilter.hash` {self.prefilter.hash} needs `thresholds` with a "
                "`phash_distance` of its own: a descriptor's is calibrated for phash"
            )
        # The default names it for whoever says no more than which paths are preferred.
        said = self.keeper != type(self).model_fields["keeper"].default
        if said and "path" in self.keeper and not self.preferred_paths:
            raise ValueError("keeper criterion `path` needs `preferred_paths`")
        if len(set(self.keeper)) != len(self.keeper):
            raise ValueError("`keeper` names a criterion twice")
        return self


_NOTIFIERS = re.compile(r"airflow\.providers\.(\w+\.)+notifications\.(\w+\.)*\w+")


def notifier_fault(notifier: str) -> str | None:
    """Why a class may not be named as a notifier, as a sentence; None if it may.

    Asked before it is imported, since that runs a module: those of Airflow's providers, and what
    lies in the modules that the deployment names in `IDEDUP_NOTIFIERS` (separated by commas).
    """
    named = os.environ.get("IDEDUP_NOTIFIERS", "").split(",")
    own = tuple(f"{module.strip()}." for module in named if module.strip())
    if _NOTIFIERS.fullmatch(notifier) or notifier.startswith(own):
        return None
    return (
        f"alerts: {notifier} is not among the notifiers that may be used (expected one of "
        "airflow.providers.….notifications, or of a module that IDEDUP_NOTIFIERS names)"
    )


def load_collection(path: Path) -> Collection:
    """Read and check one collection file.

    Raises:
        SettingsError: one line per fault, each with file, field and what is expected. What was
            found is repeated only where it can be no secret.
    """
    content = read_settings(path, "name: photos")
    try:
        return Collection.model_validate(content)
    except ValidationError as error:
        faults = [
            f"{path.name}: {'.'.join(map(str, fault['loc'])) or 'file'}: {fault['msg']}"
            f"{_found(fault)}"
            for fault in error.errors()
        ]
    # Outside of the handler, for a traceback would show what pydantic was given.
    raise SettingsError("\n".join(faults))


def read_settings(path: Path, example: str) -> dict[str, Any]:
    """The mapping in a YAML file; `example`: a line that could stand in it.

    Raises:
        SettingsError: names the file and where it cannot be read, and quotes nothing of it.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"{path}: cannot be read ({error.strerror}): name a YAML file with settings."
        ) from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        said = str(error)
        if isinstance(error, yaml.MarkedYAMLError):
            mark = error.problem_mark
            at = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
            said = f"{at}{error.problem or error.context}"
    else:
        if isinstance(content, dict):
            return content
        raise SettingsError(f"{path.name}: expected a mapping of settings, such as `{example}`")
    raise SettingsError(f"{path.name}: not readable as YAML: {said}")


def _found(fault: Mapping[str, Any]) -> str:
    """What was found instead, where the field is known and none that could hold a secret."""
    value, field = fault["input"], fault["loc"][0] if fault["loc"] else None
    secret = field in ("source", "connection", "alerts") or fault["type"] == "extra_forbidden"
    if secret or not isinstance(value, str | int | float | None):
        return ""
    return f" (found {json.dumps(value)[:120]})"


def digest(*settings: Any) -> str:
    """Short hex digest of settings, recorded with each table version made from them."""

    def plain(value: Any) -> Any:
        return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)

    text = json.dumps(settings, sort_keys=True, default=plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sqlite_url(path: Path) -> str:
    """The URL of an SQLite file of any name; SQLAlchemy decodes this part from 2.1 on."""
    return f"sqlite:///{path}".replace("%", "%25").replace("?", "%3F")


# delta-rs takes a backslash for a slash and `%41` for `A`, looks for the table it has just made
# somewhere else, and refuses control characters.
_NOT_IN_A_LAKE = re.compile(r"[\x00-\x1f\x7f\\]|%[0-9A-Fa-f]{2}")


def local_folder(root: str) -> str | None:
    """The absolute path of a lake's root, or None for the URL of a store.

    Raises:
        SettingsError: a folder whose name the tables cannot have.
    """
    protocol, path = split_address(root)
    if protocol not in ("", "file"):
        return None
    folder = os.path.abspath(Path(path).expanduser())  # noqa: PTH100 - a link keeps its name
    found = _NOT_IN_A_LAKE.search(folder)
    part = "bytes that are not UTF-8" if found is None else repr(found.group())
    if found is not None or not _is_text(folder):
        raise SettingsError(
            f"{folder!r} cannot hold a lake: its name has {part}, which names of Delta tables "
            "cannot have; name another folder."
        )
    return folder


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


class Places(_Strict):
    """Where state lives. One variable, `IDEDUP_HOME`, moves all of it."""

    home: Path
    lake: str
    warehouse: str
    collections: Path
    # Who may change the schema, where that is not the role that tasks write with.
    warehouse_owner: str | None = None

    @classmethod
    def from_environment(cls) -> Places:
        """`IDEDUP_HOME` (default: `idedup` in the user's data folder, `$XDG_DATA_HOME` on Linux),
        `IDEDUP_LAKE` (a folder or URL), `IDEDUP_WAREHOUSE` (a SQLAlchemy URL),
        `IDEDUP_COLLECTIONS` (a folder of YAML files, default `IDEDUP_HOME/collections`),
        `IDEDUP_WAREHOUSE_OWNER` (a URL for `idedup db upgrade`, default `IDEDUP_WAREHOUSE`)."""
        home = Path(os.environ.get("IDEDUP_HOME") or user_data_dir("idedup", appauthor=False))
        home = home.expanduser().resolve()
        return cls(
            home=home,
            lake=os.environ.get("IDEDUP_LAKE") or str(home / "lake"),
            warehouse=os.environ.get("IDEDUP_WAREHOUSE") or sqlite_url(home / "warehouse.db"),
            collections=Path(
                os.environ.get("IDEDUP_COLLECTIONS") or home / "collections"
            ).expanduser(),
            warehouse_owner=os.environ.get("IDEDUP_WAREHOUSE_OWNER") or None,
        )


def make_private(folder: Path) -> Path:
    """Make a folder of state, if it is not there, that only its owner can enter; returns it.

    Thumbnails of everybody's pictures lie below it. One that is there keeps the mode that the
    deployment gave it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
