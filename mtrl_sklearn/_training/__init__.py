"""What both networks share when they learn."""
