INSERT INTO duplicate_group (
    collection, group_id, keeper_id, size, bytes, reclaimable_bytes, exact, perceptual, near,
    first_arrival, last_arrival
)
SELECT
    CAST(:collection AS TEXT), group_id, keeper_id, size, bytes, reclaimable_bytes, exact,
    perceptual, near, first_arrival, last_arrival
FROM staged_group
EXCEPT
SELECT
    collection, group_id, keeper_id, size, bytes, reclaimable_bytes, exact,
    perceptual, near, first_arrival, last_arrival
FROM duplicate_group
WHERE collection = :collection
ON CONFLICT (collection, group_id) DO UPDATE SET
    keeper_id = excluded.keeper_id,
    size = excluded.size,
    bytes = excluded.bytes,
    reclaimable_bytes = excluded.reclaimable_bytes,
    exact = excluded.exact,
    perceptual = excluded.perceptual,
    near = excluded.near,
    first_arrival = excluded.first_arrival,
    last_arrival = excluded.last_arrival;
