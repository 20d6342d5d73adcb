-- The keeper first, then duplicates, then variants; of each those that were seen most surely.
SELECT *
FROM member_evidence
WHERE collection = :collection AND group_id = :group_id
ORDER BY
    CASE verdict WHEN 'keeper' THEN 1 WHEN 'duplicate' THEN 2 ELSE 3 END,
    score DESC,
    image_id
LIMIT :limit;
