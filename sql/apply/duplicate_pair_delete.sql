DELETE FROM duplicate_pair
WHERE
    collection = :collection
    AND NOT EXISTS (
        SELECT 1
        FROM staged_pair
        WHERE
            staged_pair.image_a = duplicate_pair.image_a
            AND staged_pair.image_b = duplicate_pair.image_b
    );
