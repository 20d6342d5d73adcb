-- Until a collection runs again, the default of its settings.
ALTER TABLE collection ADD COLUMN currency TEXT NOT NULL DEFAULT 'USD';
