"""What is possible and improbable in the data of a book: refused until `[[confirm]]` says that it is so."""
