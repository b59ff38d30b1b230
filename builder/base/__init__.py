"""What every trade uses: files, environments, console, downloads, archives, errors."""
