-- The keeper first, then the members that are uncertain, then those most like the keeper.
SELECT *
FROM member_evidence
WHERE collection = :collection AND group_id = :group_id
ORDER BY is_keeper DESC, uncertain DESC, score_to_keeper DESC, image_id
LIMIT :limit;
