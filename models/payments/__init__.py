"""What is expected to be paid, what was heard about it, and what follows."""
