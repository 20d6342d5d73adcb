INSERT INTO duplicate_group (
    collection, group_id, keeper_id, size, bytes, reclaimable_bytes, duplicates, variants, exact,
    same, crop, inside, edited, first_arrival, last_arrival
)
SELECT
    CAST(:collection AS TEXT), group_id, keeper_id, size, bytes,
    duplicate_bytes
    + CASE WHEN CAST(:variants_reclaimable AS BOOLEAN) THEN variant_bytes ELSE 0 END,
    duplicates, variants, exact, same, crop, inside, edited, first_arrival, last_arrival
FROM staged_group
EXCEPT
SELECT
    collection, group_id, keeper_id, size, bytes, reclaimable_bytes, duplicates, variants, exact,
    same, crop, inside, edited, first_arrival, last_arrival
FROM duplicate_group
WHERE collection = :collection
ON CONFLICT (collection, group_id) DO UPDATE SET
    keeper_id = excluded.keeper_id,
    size = excluded.size,
    bytes = excluded.bytes,
    reclaimable_bytes = excluded.reclaimable_bytes,
    duplicates = excluded.duplicates,
    variants = excluded.variants,
    exact = excluded.exact,
    same = excluded.same,
    crop = excluded.crop,
    inside = excluded.inside,
    edited = excluded.edited,
    first_arrival = excluded.first_arrival,
    last_arrival = excluded.last_arrival;
