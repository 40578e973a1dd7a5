"""What several tables and `book.toml` must agree on; every breach at once."""
