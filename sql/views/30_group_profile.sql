-- One row per group of two or more, with the relation of its members and what could be saved.
CREATE VIEW group_profile AS
SELECT
    duplicate_group.collection,
    duplicate_group.group_id,
    CASE duplicate_group.size - 1
        WHEN duplicate_group.exact THEN 'exact'
        WHEN duplicate_group.same THEN 'same'
        WHEN duplicate_group.crop THEN 'crop'
        WHEN duplicate_group.inside THEN 'inside'
        WHEN duplicate_group.edited THEN 'edited'
        ELSE 'mixed'
    END AS relation,
    duplicate_group.size,
    duplicate_group.bytes,
    duplicate_group.reclaimable_bytes,
    duplicate_group.duplicates,
    duplicate_group.variants,
    duplicate_group.exact,
    duplicate_group.same,
    duplicate_group.crop,
    duplicate_group.inside,
    duplicate_group.edited,
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
