"""What we hold and know: tables and `book.toml` in, an aligned Book out."""
