"""How it is solved: compile once, solve many, check, name conflicts."""
