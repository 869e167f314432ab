"""What can be privatized, and how it is read: photos of faces (:mod:`.images`, :mod:`.faces`)."""
