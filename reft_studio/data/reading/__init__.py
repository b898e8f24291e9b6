"""What people bring, made readable: notations of tables and texts, types of columns, labels; within a budget of memory and time."""
