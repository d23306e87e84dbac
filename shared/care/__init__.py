"""What an operator does for an installation: upgrade, backup, restore. An entry point, above all else."""
