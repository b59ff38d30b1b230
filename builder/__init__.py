"""How the zip is made. Nothing in here ships."""
