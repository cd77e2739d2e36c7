"""What makes the data sets and the result tables in data/: `python -m experiments --help`."""
