-- Without figures the planner takes a temporary table for a small one.
ANALYZE staged;

ANALYZE staged_look;
