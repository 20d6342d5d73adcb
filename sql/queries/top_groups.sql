SELECT *
FROM top_groups
WHERE collection = :collection AND rank_by_size <= :limit
ORDER BY rank_by_size;
