"""Subscribers that people look at."""
