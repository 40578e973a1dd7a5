"""Which names are held, where a mandate wants few of them: a search with a bound on what it leaves."""
