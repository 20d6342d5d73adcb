"""Alembic's entry: `Warehouse.upgrade` hands over the transaction in which the schema changes."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], target_metadata=None)
context.run_migrations()
