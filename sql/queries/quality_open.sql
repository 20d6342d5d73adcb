SELECT * FROM quality_open ORDER BY collection, severity, stage, rule;
