"""What an embedder and an adapter author need in their own tests."""
