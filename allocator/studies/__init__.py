"""What if: the same question asked many times with something changed."""
