"""What is trained, on what, and how long: studies, runs, records and the command line."""
