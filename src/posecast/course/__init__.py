"""Lab 4: the template's options, submission, the board's score."""
