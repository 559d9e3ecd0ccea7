"""Bytes on disk, written whole, read checked."""
