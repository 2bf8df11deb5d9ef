"""Which crops, which ranges, by which method."""
