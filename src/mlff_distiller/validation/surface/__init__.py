"""What holds of every energy surface, and how it is measured of a teacher and of students alike."""
