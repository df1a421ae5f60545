"""Where state is kept: the port, its adapters, and the canonical text of what they hold."""
