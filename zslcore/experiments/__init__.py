"""The papers' tables and figures, one experiment a file."""
