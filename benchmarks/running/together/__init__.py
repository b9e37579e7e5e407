"""Runs that several processes compute together, on one machine or several: how they are started, find each other, and
end."""
