"""Course project Lab 4: the template's options, the submission, and the board's score."""
