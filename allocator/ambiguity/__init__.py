"""Sets of scenario probabilities that a plan is guarded against, and how far they reach."""
