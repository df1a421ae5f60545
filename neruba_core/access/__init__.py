"""Access keys: the credentials of machines."""
