-- In the order of the table's columns.
INSERT INTO staged_look VALUES (?, ?, ?, ?, ?, ?, ?);
