"""What is possible and improbable in the data of a book: refused until `[[confirm]]` of book.toml says that it is so."""
