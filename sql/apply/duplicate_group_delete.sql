DELETE FROM duplicate_group
WHERE
    collection = :collection
    AND NOT EXISTS (
        SELECT 1 FROM staged_group WHERE staged_group.group_id = duplicate_group.group_id
    );
