-- In the order of the table's columns.
COPY staged_look FROM STDIN WITH (FORMAT csv);
