"""The subscriber in the terminal."""
