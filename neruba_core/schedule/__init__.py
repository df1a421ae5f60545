"""Work that falls due, and who is doing it."""
