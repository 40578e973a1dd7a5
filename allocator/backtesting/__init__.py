"""History and simulated worlds: how the machinery would have behaved on prices that there were."""
