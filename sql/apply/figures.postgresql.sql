-- The function is the owner's, who alone may analyse the tables.
SELECT take_figures();
