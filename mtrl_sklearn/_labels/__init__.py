"""Labels: anything in, signs and codes out."""
