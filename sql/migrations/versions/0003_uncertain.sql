-- Until a collection runs again, the default of its settings.
ALTER TABLE collection ADD COLUMN uncertain_margin DOUBLE PRECISION NOT NULL DEFAULT 0.05;
