"""What happens at another image resolution? Start at `resolution`."""
