"""The reference consumer: stores each report once, and only then acknowledges it."""
