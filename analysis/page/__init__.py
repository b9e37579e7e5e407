"""What a report says, in order: the list of questions, answers, chapters, method. Imports questions and what is below.

Start at `questions`, then `content`.
"""
