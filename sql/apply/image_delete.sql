DELETE FROM image
WHERE
    collection = :collection
    AND NOT EXISTS (SELECT 1 FROM staged WHERE staged.image_id = image.image_id);
