"""What learns: networks and their layers."""
