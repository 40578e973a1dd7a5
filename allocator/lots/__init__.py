"""Whole lots: the nearest orders that keep every rule."""
