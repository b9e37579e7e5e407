"""The questions a report answers, a room each. A question imports elements, provenance, frame and statistics."""
