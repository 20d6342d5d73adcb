-- Near duplicates that barely are any, over the whole collection; the most doubtful first.
SELECT
    *,
    count(*) OVER () AS uncertain_members
FROM member_evidence
WHERE collection = :collection AND uncertain
ORDER BY
    CASE WHEN score_to_keeper < score THEN score_to_keeper ELSE score END - threshold,
    image_id
LIMIT :limit;
