"""What `tacit` itself offers for networks and data of one's own; nothing of the studies depends on it."""
