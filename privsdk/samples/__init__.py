"""What can be privatized, and how it is read: photos of faces, images of digits, rows of tables."""
