"""Importers: models of other libraries as graphs. One module per format; `mg.load` finds them."""
