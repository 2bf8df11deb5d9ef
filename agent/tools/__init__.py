"""What a person starts by hand: each command builds its adapters."""
