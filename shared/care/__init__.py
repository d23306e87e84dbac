"""What an operator does for an installation: upgrade, backup, restore, prune. An entry point, above all else."""
