"""Pages that people read: one HTML file with figures and tables that needs no network."""
