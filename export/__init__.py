"""From a checkpoint to a bundle, and the proof that its graphs agree."""
