"""What would have come of it: simulated worlds in which the truth is known, and what each policy makes of them."""
