"""The tables of the warehouse.

Revision ID: 0001
Revises: nothing
"""

from pathlib import Path

from alembic import op

from idedup_tasks.warehouse import statements

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_HERE = Path(__file__).parent


def upgrade() -> None:
    connection = op.get_bind()
    files = ["0001_tables.sql"]
    if connection.dialect.name == "postgresql":
        files.append("0001_comments.postgresql.sql")
    for file in files:
        for statement in statements(_HERE / file):
            connection.exec_driver_sql(statement)
