"""Messages to whoever listens: written with what they tell of, delivered afterwards until they arrive."""
