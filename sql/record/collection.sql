-- A run may be recorded before the collection has any result.
INSERT INTO collection (name, source, period, price_per_gb_month)
VALUES (:collection, :source, :period, :price_per_gb_month)
ON CONFLICT (name) DO NOTHING;
