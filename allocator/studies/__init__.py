"""What if: the same question asked again with something changed."""
