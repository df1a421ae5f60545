"""The shapes of requests and responses, and the one converter that reads and writes them."""
