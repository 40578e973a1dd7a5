"""How the machinery would have behaved: on prices that there were, and in simulated worlds whose truth is known."""
