"""What runs a model's graph, and what builds a TensorRT engine of it; nothing here needs torch."""
