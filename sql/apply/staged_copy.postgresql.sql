-- In the order of the table's columns; a null is an unquoted nothing.
COPY staged FROM STDIN WITH (FORMAT csv);
