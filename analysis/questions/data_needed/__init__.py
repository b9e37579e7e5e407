"""How many images does each architecture need? Factors, crossings, fitted curves, budgets side by side.

`against` says which model is the measure of which. Start at `question`.
"""
