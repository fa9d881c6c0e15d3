"""Messages to arrays and back."""
