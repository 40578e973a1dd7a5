"""Stress testing: the same question asked many times with something changed."""
