"""Numbers: any array in, batches out."""
