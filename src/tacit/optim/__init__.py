"""How learning moves: optimisers and regularisers."""
