"""What all trainings share: a trainer whose batches are numbered, checkpoints, looks on the way, noise."""
