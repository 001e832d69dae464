"""Data sets that become tasks: the course's own, and readers for yours."""
