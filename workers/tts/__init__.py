"""Text to speech: the answer, spoken."""
