"""A report as a page, as LaTeX, as Markdown. Imports page and what lies below it. Start at `html`."""
