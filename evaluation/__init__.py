"""Labelled cells, whose they are and what they may be used for, and the figures of what is said of them."""
