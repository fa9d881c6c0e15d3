"""How a server is reached: its address, credentials, channels, and status codes."""
