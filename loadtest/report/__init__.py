"""Shows results: on the terminal, as a page, as a spreadsheet."""
