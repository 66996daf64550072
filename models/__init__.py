"""Recipes: how each shipped model was made (data, training, quantisation, export)."""
