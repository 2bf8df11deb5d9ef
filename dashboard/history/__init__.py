"""What slides, and models, have in common and what differs: values for the pages that set two side by side."""
