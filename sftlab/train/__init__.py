"""The engine: tasks, plans, parameter groups, schedules and one visible training loop."""
