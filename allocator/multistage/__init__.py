"""Plans with reviews: the tree of decisions, its objectives, program and policy."""
