"""What more than one Parley process needs, and nothing else."""
