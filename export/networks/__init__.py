"""The networks that the central trainer trains."""
