"""Text to ids and back, learning the vocabulary, and the one chat template."""
