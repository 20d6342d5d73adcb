INSERT INTO group_member (
    collection, image_id, group_id, is_keeper, relation, method, matched_id, score, threshold,
    keeper_id, score_to_keeper
)
SELECT
    CAST(:collection AS TEXT), staged.image_id, staged.group_id, staged.verdict = 'keeper',
    staged.relation, staged.method, staged.matched_id, staged.score, staged.threshold,
    staged_group.keeper_id, staged.score_to_keeper
FROM staged
INNER JOIN staged_group ON staged.group_id = staged_group.group_id
WHERE staged.verdict IN ('keeper', 'duplicate')
EXCEPT
SELECT
    collection, image_id, group_id, is_keeper, relation, method, matched_id, score, threshold,
    keeper_id, score_to_keeper
FROM group_member
WHERE collection = :collection
ON CONFLICT (collection, image_id) DO UPDATE SET
    group_id = excluded.group_id,
    is_keeper = excluded.is_keeper,
    relation = excluded.relation,
    method = excluded.method,
    matched_id = excluded.matched_id,
    score = excluded.score,
    threshold = excluded.threshold,
    keeper_id = excluded.keeper_id,
    score_to_keeper = excluded.score_to_keeper;
