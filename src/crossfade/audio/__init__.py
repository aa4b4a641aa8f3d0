"""What models hear: sources of sound, decoding, and clips in batches of equal length."""
