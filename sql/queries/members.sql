-- The keeper first, then the members most like it.
SELECT *
FROM member_evidence
WHERE collection = :collection AND group_id = :group_id
ORDER BY is_keeper DESC, score_to_keeper DESC, image_id
LIMIT :limit;
