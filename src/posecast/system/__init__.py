"""What the operating system gives: drives, streams and names, with what they may lack."""
