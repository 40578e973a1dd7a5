"""A rule, an objective, a model and an exporter for portfolio-allocator, one file each."""
