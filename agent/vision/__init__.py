"""Looking at a frame: its light, its quality, its scale, its cells."""
