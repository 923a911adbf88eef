"""Soil-carbon models behind one interface, and the registry that names them."""
