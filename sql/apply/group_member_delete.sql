DELETE FROM group_member
WHERE
    collection = :collection
    AND NOT EXISTS (
        SELECT 1
        FROM staged
        WHERE
            staged.image_id = group_member.image_id
            AND staged.verdict IN ('keeper', 'duplicate', 'variant')
    );
