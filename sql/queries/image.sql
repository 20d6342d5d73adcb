SELECT * FROM image WHERE collection = :collection AND image_id = :image_id;
