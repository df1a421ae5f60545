"""What a project owes and why."""
