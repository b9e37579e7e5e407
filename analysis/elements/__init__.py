"""What sections are made of: tables of linked cells (`linked`), figures and their look. Imports frame, statistics."""
