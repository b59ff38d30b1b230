"""Runs as Markdown and plots. All of it is a function of what is stored: same runs, same bytes."""
