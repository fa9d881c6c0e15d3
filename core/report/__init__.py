"""The parts every report is made of: one self-contained HTML page and its pictures."""
