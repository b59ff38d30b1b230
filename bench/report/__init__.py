"""Reports of runs, as Markdown and plots: the same runs give the same bytes."""
