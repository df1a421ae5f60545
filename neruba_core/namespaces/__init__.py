"""The parts of the façade: each parses an embedder's values and runs verbs in one unit of work."""
