-- Groups with their rank in the collection, by size and by reclaimable bytes: filter by a rank.
CREATE VIEW top_groups AS
SELECT
    collection,
    row_number() OVER (
        PARTITION BY collection ORDER BY size DESC, reclaimable_bytes DESC, group_id
    ) AS rank_by_size,
    row_number() OVER (
        PARTITION BY collection ORDER BY reclaimable_bytes DESC, size DESC, group_id
    ) AS rank_by_bytes,
    group_id,
    relation,
    size,
    bytes,
    reclaimable_bytes,
    duplicates,
    variants,
    exact,
    same,
    crop,
    inside,
    edited,
    first_arrival,
    last_arrival,
    keeper_id,
    keeper_key,
    keeper_uri,
    cost_per_month,
    period_start,
    currency
FROM group_profile;
