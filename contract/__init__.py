"""What the rooms promise one another; imports none of ours."""
