"""What this process may use of the machine: cores, and the threads of libraries that compute."""
