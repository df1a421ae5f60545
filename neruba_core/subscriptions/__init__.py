"""Plans, and the dated decisions of a project to subscribe to them."""
