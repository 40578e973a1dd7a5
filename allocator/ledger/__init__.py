"""What was decided: runs with all they were made from and what they ordered, in a chain that no change escapes."""
