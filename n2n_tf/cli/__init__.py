"""The command-line programs, one module each; `program` is how all of them start and end."""
