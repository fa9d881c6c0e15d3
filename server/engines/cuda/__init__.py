"""The engine on an NVIDIA GPU: lanes, which run beside each other, of captured graphs."""
