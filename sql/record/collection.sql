-- A run may be recorded before the collection has any result.
INSERT INTO collection (name, source, period, price_per_gb_month, currency, uncertain_margin)
VALUES (:collection, :source, :period, :price_per_gb_month, :currency, :uncertain_margin)
ON CONFLICT (name) DO NOTHING;
