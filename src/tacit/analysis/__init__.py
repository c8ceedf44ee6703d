"""What is measured of models and results."""
