"""Pictures that are kept for who looks at cells later: cut beside the loop, bounded on disk, handed out in pieces."""
