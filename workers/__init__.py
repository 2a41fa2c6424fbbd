"""The four stages: each a process that owns a model and no session."""
