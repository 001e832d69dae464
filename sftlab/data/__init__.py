"""What it is trained on: the course's data sets, padding and batching."""
