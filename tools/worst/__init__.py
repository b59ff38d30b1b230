"""Search for the pictures that cost the function most."""
