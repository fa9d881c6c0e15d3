"""Where a bundle goes: a version's folder in a model repository, here or in a store."""
