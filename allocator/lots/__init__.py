"""Whole lots: the best orders that keep every rule."""
