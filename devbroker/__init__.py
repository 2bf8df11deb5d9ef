"""A broker of one's own: for the demonstration, the tests and the benchmarks."""
