"""Many accounts under one outlook: read once, worked on in batches here or on a cluster, and resumed where they end."""
