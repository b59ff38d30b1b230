"""Pillow with JPEG, PNG and WebP linked in."""
