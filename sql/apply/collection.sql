UPDATE collection
SET
    source = :source,
    period = :period,
    price_per_gb_month = :price_per_gb_month,
    currency = :currency,
    uncertain_margin = :uncertain_margin,
    model_id = :model_id,
    run_id = :run_id,
    versions_read = :versions_read,
    applied_at = :applied_at
WHERE name = :collection;
