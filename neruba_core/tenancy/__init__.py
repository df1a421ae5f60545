"""Projects, the people in them, and what each role may do."""
