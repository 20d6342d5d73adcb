SELECT count(*) FROM group_member WHERE collection = :collection;
