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


def upgrade() -> None:
    connection = op.get_bind()
    files = [Path(__file__).with_suffix(".sql")]
    if connection.dialect.name == "postgresql":
        files.append(Path(__file__).with_suffix(".postgresql.sql"))
    for file in files:
        for statement in statements(file):
            connection.exec_driver_sql(statement)
