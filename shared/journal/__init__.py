"""What the database cannot take is kept in a file beside it, and taken over by the next run."""
