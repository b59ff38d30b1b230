"""The local command line, batch client and server. Never ships."""
