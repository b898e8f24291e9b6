"""Work of many parts that a job or a verb does from beginning to end."""
