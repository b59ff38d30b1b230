"""Measurements that the README quotes. None of it ships."""
