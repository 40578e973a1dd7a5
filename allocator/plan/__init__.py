"""What to do: targets, whole-lot orders, and the proof."""
