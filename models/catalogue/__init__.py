"""Models by name: families with their options, sizes and plugins, declared without torch. Start at `registry`.

It names networks as text and imports one when it is built.
"""
