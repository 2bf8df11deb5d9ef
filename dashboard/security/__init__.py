"""Who may see and do what: people, sessions, and what every answer and request must hold."""
