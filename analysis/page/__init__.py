"""What a report says, in order: findings, answers, chapters, method. Imports questions. Start at `content`."""
