"""Pictures: one HTML page that shows what a data set holds and what looks wrong in it."""
