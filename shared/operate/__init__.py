"""What a person can order and ask by command: `python -m shared.operate`. An entry point, above all else."""
