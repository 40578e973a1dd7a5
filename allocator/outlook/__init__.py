"""What we believe: scenario probabilities, scenario returns, and the risk within a scenario."""
