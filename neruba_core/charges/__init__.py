"""Real-time charges against a wallet."""
