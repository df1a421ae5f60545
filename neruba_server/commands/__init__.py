"""The commands of ``neruba``, one module for each subject; ``cli`` puts them together."""
