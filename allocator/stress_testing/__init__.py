"""What if: the same question asked again, or many times, with something changed."""
