"""The crontab of a machine: which lines its agents need, what they will start, and their installation."""
