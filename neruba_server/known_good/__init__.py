"""The known-good sequence: the requests that show, whenever they are walked, that a deployment works."""
