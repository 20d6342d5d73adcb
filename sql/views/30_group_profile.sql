-- One row per group of two or more, with the kind of its duplicates and the price of keeping them.
CREATE VIEW group_profile AS
SELECT
    duplicate_group.collection,
    duplicate_group.group_id,
    CASE
        WHEN duplicate_group.perceptual + duplicate_group.near = 0 THEN 'exact'
        WHEN duplicate_group.exact + duplicate_group.near = 0 THEN 'perceptual'
        WHEN duplicate_group.exact + duplicate_group.perceptual = 0 THEN 'near'
        ELSE 'mixed'
    END AS relation,
    duplicate_group.size,
    duplicate_group.bytes,
    duplicate_group.reclaimable_bytes,
    duplicate_group.exact,
    duplicate_group.perceptual,
    duplicate_group.near,
    duplicate_group.first_arrival,
    duplicate_group.last_arrival,
    duplicate_group.keeper_id,
    image.key AS keeper_key,
    image.uri AS keeper_uri,
    duplicate_group.reclaimable_bytes / 1000000000.0 * collection.price_per_gb_month
        AS cost_per_month,
    image.period_start,
    collection.currency
FROM duplicate_group
INNER JOIN collection ON duplicate_group.collection = collection.name
INNER JOIN image
    ON
        duplicate_group.collection = image.collection
        AND duplicate_group.keeper_id = image.image_id;
