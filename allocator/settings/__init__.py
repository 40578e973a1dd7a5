"""`book.toml` as frozen pydantic models: every key with its unit and range, and how it is read."""
