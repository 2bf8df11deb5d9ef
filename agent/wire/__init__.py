"""The way out: what waits, what is sent next, and the connection; and what comes in by it."""
