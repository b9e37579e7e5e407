"""From records to answers: statistics, tables, figures and the page."""
