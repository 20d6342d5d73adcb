-- A run may be recorded before the collection has any result.
INSERT INTO collection (name, source, period, price_per_gb_month, currency, variants_reclaimable)
VALUES (:collection, :source, :period, :price_per_gb_month, :currency, :variants_reclaimable)
ON CONFLICT (name) DO NOTHING;
