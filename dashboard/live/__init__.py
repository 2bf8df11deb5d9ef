"""What happens now: agents as the broker tells of them, and what browsers hear of it."""
