UPDATE collection
SET
    source = :source,
    period = :period,
    price_per_gb_month = :price_per_gb_month,
    currency = :currency,
    variants_reclaimable = :variants_reclaimable,
    model_id = :model_id,
    run_id = :run_id,
    versions_read = :versions_read,
    applied_at = :applied_at
WHERE name = :collection;
