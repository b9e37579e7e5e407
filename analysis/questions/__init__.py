"""A room a question; each has a `question.py`, which says what the room gives the page (`elements.question`).

Inside, files are named alike: `numbers` (an arm's tables, remembered by `arm.once(numbers)`), `sentences` (claims and
limits), `sections` (chapters: figures and tables), `figures`. Files beside these are named by what they compute. A room
imports elements and what is below; of other rooms only `accuracy.ranking` and `comparisons.verdicts`. What several need
goes below. Start at `training_loss`, the smallest room with all of it; a new one gets its line in `page/questions.py`.
"""
