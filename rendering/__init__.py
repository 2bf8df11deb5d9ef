"""What people are shown: cells drawn into frames, galleries, plots and pages of HTML that need no other file."""
