"""Voice activity detection: when somebody speaks, and when a turn ends."""
