"""What several tables and `book.toml` must agree on; every error at once."""
