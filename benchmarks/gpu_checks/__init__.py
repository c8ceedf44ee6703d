"""What `benchmarks/gpu.py` is made of: engines, rates, processes, hours."""
