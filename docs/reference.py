"""Print the reference of collection files from the descriptions of the settings themselves.

`make docs` writes it to docs/collections.md; a test compares the two.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from idedup_tasks.settings import Collection

_INTRODUCTION = """\
# Collection files

One YAML file in `IDEDUP_HOME/collections` is one collection and one DAG, `image_dedup_<name>` (with
`make run` that is `.idedup/collections`, in the Compose stack `config/collections`; another folder
can be named with `IDEDUP_COLLECTIONS`). The smallest has two lines:

```yaml
name: pictures
source: ~/Pictures
```

`config/examples` has larger ones. A file with a fault becomes a DAG with the tag `invalid-config`
that names file, field and what is expected; the other collections are untouched. Settings are part
of what every stage compares: change one, and the next run brings the results in line with it.

This page is made by `make docs` from `idedup_tasks/settings.py`.
"""


def reference() -> str:
    """The whole page, in Markdown."""
    return "\n".join([_INTRODUCTION, *_section("The file", Collection, "")])


def _section(title: str, model: type[BaseModel], path: str) -> Iterator[str]:
    yield f"## {title}\n"
    if model.__doc__ and path:
        yield f"{model.__doc__.strip()}\n"
    yield "| field | type | default | |"
    yield "|---|---|---|---|"
    inner = []
    for name, field in model.model_fields.items():
        nested = _model(field)
        if nested is not None:
            inner.append((name, nested))
        described = field.description or (nested.__doc__ if nested else "") or ""
        link = f" See [{path}{name}](#{path}{name})." if nested else ""
        says = f"{' '.join(described.split())}{link}"
        yield f"| `{name}` | {_type(field)} | {_default(field)} | {says} |"
    yield ""
    for name, nested in inner:
        yield from _section(f"{path}{name}", nested, f"{path}{name}.")


def _model(field: FieldInfo) -> type[BaseModel] | None:
    for kind in (field.annotation, *typing.get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _type(field: FieldInfo) -> str:
    limits = []
    for limit in field.metadata:
        for kind, sign, bound in ((Ge, "≥", "ge"), (Gt, ">", "gt"), (Le, "≤", "le")):
            if isinstance(limit, kind):
                limits.append(f"{sign} {getattr(limit, bound):,}")
    return ", ".join([_named(field.annotation), *limits])


def _named(kind: object) -> str:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin is tuple:
        return f"list of {_named(inner[0])}"
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_named(k) for k in inner if k is not type(None)) + ", or empty"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "mapping"
    names = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}
    name = getattr(kind, "__name__", str(kind))
    return names.get(name, name)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**needed**"
    if field.default_factory is not None or field.default is PydanticUndefined:
        return ""
    if field.default in (None, ()):
        return "empty"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    if isinstance(field.default, tuple):
        return f"`[{', '.join(field.default)}]`"
    return f"`{field.default}`"


if __name__ == "__main__":
    print(reference(), end="")
