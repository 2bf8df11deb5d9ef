"""What people say of a slide's cells: verdicts, signatures, and what follows from them."""
