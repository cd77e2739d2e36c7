"""The exercises, predictions and quizzes, a chapter a file."""
