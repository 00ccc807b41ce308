"""What a report says: counts of the scene, and what a target cannot hold."""
