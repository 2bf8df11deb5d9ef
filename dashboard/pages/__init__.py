"""The pages, and what they are asked for."""
