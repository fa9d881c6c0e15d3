"""Makes a trained model smaller without training it again."""
