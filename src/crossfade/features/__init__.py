"""What turns sound into frames: spectra and small networks that hear music."""
