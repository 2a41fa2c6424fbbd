"""Client protocols, one module each, all on the same session interface."""
