"""Raw values to labels, dense values and ids: the one parser."""
