"""Following a slide: where a frame lies on it, which cells were seen before, what is counted."""
