"""What was decided: what made one plan differ from another."""
