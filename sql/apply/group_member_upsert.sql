INSERT INTO group_member (
    collection, image_id, group_id, is_keeper, relation, method, keeper_id, score, overlap,
    keeper_overlap, changed, place, why
)
SELECT
    CAST(:collection AS TEXT), staged.image_id, staged.group_id, staged.verdict = 'keeper',
    staged.relation, staged.method, staged_group.keeper_id, staged.score, staged.overlap,
    staged.keeper_overlap, staged.changed, staged.place, staged.why
FROM staged
INNER JOIN staged_group ON staged.group_id = staged_group.group_id
WHERE staged.verdict IN ('keeper', 'duplicate', 'variant')
EXCEPT
SELECT
    collection, image_id, group_id, is_keeper, relation, method, keeper_id, score, overlap,
    keeper_overlap, changed, place, why
FROM group_member
WHERE collection = :collection
ON CONFLICT (collection, image_id) DO UPDATE SET
    group_id = excluded.group_id,
    is_keeper = excluded.is_keeper,
    relation = excluded.relation,
    method = excluded.method,
    keeper_id = excluded.keeper_id,
    score = excluded.score,
    overlap = excluded.overlap,
    keeper_overlap = excluded.keeper_overlap,
    changed = excluded.changed,
    place = excluded.place,
    why = excluded.why;
