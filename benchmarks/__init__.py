"""What is timed: the table (`benchmarks.table`), and single scripts for what has no place in it."""
