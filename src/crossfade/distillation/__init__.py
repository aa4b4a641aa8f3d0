"""One small student from many unlike teachers, robust to noise."""
